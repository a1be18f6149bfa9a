//! `network`: the box's own network, and changes of it that cannot lock anyone out.

use std::path::PathBuf;

use agent_api::routes;
use agent_api::types::{Changed, Interface, NetworkSource, NetworkState};

use super::apply::{CONTENT_TYPE, Document};
use super::{Outcome, print, restart};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::error::{DEGRADED, DONE};
use crate::text;

const AFTER: &str = "\
FILE has the network keys of `[box]`: `dns` and `[[box.interface]]`, as in a document.
What is tried ends after two minutes, or with a restart of the box, and what was before
comes back, unless it is confirmed over a connection made since. What is confirmed
stands above the document, until `revert` drops it: then the document's settings are
tried in the same way.

Exit codes: 0 done, 2 the file is not valid, 3 an interface is not as it should be,
4 there is nothing to confirm, 5 the connection is older than the change.

Examples:
  holdfast network
  holdfast network try net.toml
  holdfast --host admin@203.0.113.7 network confirm
  holdfast network revert";

/// Arguments of `network`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<NetworkCommand>,
    /// Print everything as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum NetworkCommand {
    /// Interfaces, addresses, name servers, and whose settings are in force (the default)
    Show,
    /// Put settings in force for two minutes
    Try {
        /// The network keys of `[box]`; `-` is stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make what is tried last
    Confirm,
    /// Put back what was before; without a trial, drop what was confirmed
    Revert,
}

/// Runs `network`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let route = match args.command.unwrap_or(NetworkCommand::Show) {
        NetworkCommand::Show => {
            let state: NetworkState = connect(reach).await?.get(routes::NETWORK).await?;
            print(&if args.json { text::json(&state)? } else { page(&state) })?;
            let well = state.interfaces.iter().all(|interface| interface.problem.is_none());
            return Ok(if well { DONE } else { DEGRADED });
        }
        NetworkCommand::Try { file } => {
            let document = Document::read(&file)?;
            let mut client = connect(reach).await?;
            let path = path(routes::NETWORK_TRY, &[], &[("file", document.name)]);
            let changed: Changed = client.post_text(&path, CONTENT_TYPE, document.text).await?;
            return restart::finish(&changed, args.json);
        }
        NetworkCommand::Confirm => routes::NETWORK_CONFIRM,
        NetworkCommand::Revert => routes::NETWORK_REVERT,
    };
    let changed: Changed = connect(reach).await?.post(route).await?;
    restart::finish(&changed, args.json)
}

fn page(state: &NetworkState) -> String {
    let mut page = match (state.settings, state.seconds_left) {
        (NetworkSource::Tried, Some(left)) => {
            format!("settings that are being tried: {left} s left, then those before come back\n")
        }
        (NetworkSource::Tried, None) => "settings that are being tried\n".to_owned(),
        (NetworkSource::Document, _) => "settings of the document\n".to_owned(),
        (NetworkSource::Confirmed, _) => {
            "settings confirmed by hand, above the document's; `holdfast network revert` drops them\n"
                .to_owned()
        }
        (NetworkSource::Before, _) => "settings before the document's, whose change nobody confirmed; \
             `holdfast apply` tries it again\n"
            .to_owned(),
    };
    if state.provider {
        page += "for interfaces that they do not name: as the provider describes, else DHCP\n";
    }
    state.interfaces.iter().for_each(|interface| page += &of(interface));
    for (name, values) in [("name servers", &state.dns), ("search", &state.search)] {
        if !values.is_empty() {
            page += &format!("{name}: {}\n", text::plain(&values.join(" ")));
        }
    }
    page
}

fn of(interface: &Interface) -> String {
    let up = if interface.up { "up" } else { "down" };
    let Interface { name, mac, mtu, source, .. } = interface;
    let mut lines = format!("\n{} {up}, {source}, {mac}, MTU {mtu}\n", text::plain(name));
    for (what, values) in
        [("address", &interface.addresses), ("gateway", &interface.gateways), ("name server", &interface.dns)]
    {
        values.iter().for_each(|value| lines += &format!("  {what} {}\n", text::plain(value)));
    }
    if let Some(problem) = &interface.problem {
        lines += &format!("  ! {}\n", text::plain(problem));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn what_is_in_force_and_why() {
        let mut state = NetworkState {
            interfaces: samples::status().interfaces,
            dns: vec!["9.9.9.9".into()],
            search: vec!["example.org".into()],
            settings: NetworkSource::Tried,
            provider: true,
            confirmed: false,
            seconds_left: Some(97),
        };
        state.interfaces[0].problem = Some("203.0.113.1 did not answer for 30 seconds".into());
        insta::assert_snapshot!(page(&state), @r"
        settings that are being tried: 97 s left, then those before come back
        for interfaces that they do not name: as the provider describes, else DHCP

        ens3 up, dhcp, 52:54:00:12:34:56, MTU 1500
          address 203.0.113.7/24
          gateway 203.0.113.1
          name server 9.9.9.9
          ! 203.0.113.1 did not answer for 30 seconds
        name servers: 9.9.9.9
        search: example.org
        ");
        state.settings = NetworkSource::Confirmed;
        assert!(page(&state).contains("`holdfast network revert` drops them"));
    }
}
