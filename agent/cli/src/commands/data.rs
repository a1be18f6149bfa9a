//! `data`: the partition that holds everything the box keeps.

use agent_api::routes;
use agent_api::types::{Changed, Data, DataChecked, DataFormat, DataState};

use super::{Outcome, print, restart};
use crate::cli::Reach;
use crate::connect::connect;
use crate::error::{DEGRADED, DONE, Failure};
use crate::text;

const AFTER: &str = "\
A box whose data cannot be mounted runs from memory and serves nothing until its owner
acts: `check` repairs what can be repaired, `format --destroy` makes it anew, empty.

Exit codes: 0 data is in use, 3 it is not, or cannot be repaired, 5 --destroy is missing.

Examples:
  holdfast data
  holdfast data check
  holdfast data format --destroy";

/// Arguments of `data`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<DataCommand>,
    /// Print everything as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum DataCommand {
    /// Check and repair it
    Check,
    /// Make it anew; everything on it is lost
    Format {
        /// Everything on it may be destroyed
        #[arg(long)]
        destroy: bool,
    },
}

/// Runs `data`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    match args.command {
        None => {
            let data: Data = connect(reach).await?.get(routes::DATA).await?;
            print(&if args.json { text::json(&data)? } else { page(&data) })?;
            Ok(if data.state == DataState::Unavailable { DEGRADED } else { DONE })
        }
        Some(DataCommand::Check) => {
            let checked: DataChecked = connect(reach).await?.post(routes::DATA_CHECK).await?;
            print(&if args.json { text::json(&checked)? } else { report(&checked) })?;
            Ok(if checked.usable { DONE } else { DEGRADED })
        }
        Some(DataCommand::Format { destroy: false }) => {
            Err(Failure::not_allowed("everything on data would be lost: volumes, secrets, settings, images")
                .hint("`holdfast data format --destroy` does it; `holdfast data check` may save it"))
        }
        Some(DataCommand::Format { destroy }) => {
            let body = serde_json::to_string(&DataFormat { destroy })
                .map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
            let mut client = connect(reach).await?;
            let changed: Changed = client.post_text(routes::DATA_FORMAT, "application/json", body).await?;
            restart::finish(&changed, args.json)
        }
    }
}

fn page(data: &Data) -> String {
    let state = match data.state {
        DataState::Ok => "data is in use and was clean",
        DataState::Repaired => "data is in use, after repairs at this boot",
        DataState::Unavailable => "data UNAVAILABLE",
    };
    match &data.reason {
        Some(reason) => format!("{state}: {}\n", text::plain(reason)),
        None => format!("{state}\n"),
    }
}

fn report(checked: &DataChecked) -> String {
    let output = text::plain_lines(checked.output.trim_end());
    let verdict = if checked.usable {
        "it can be mounted: `holdfast reboot` brings it into use"
    } else {
        "it still cannot be mounted"
    };
    format!("{output}\n{verdict}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let data = |state, reason: Option<&str>| page(&Data { state, reason: reason.map(str::to_owned) });
        assert_eq!(data(DataState::Ok, None), "data is in use and was clean\n");
        assert_eq!(data(DataState::Unavailable, Some("e2fsck: 8")), "data UNAVAILABLE: e2fsck: 8\n");
        let checked = DataChecked { usable: true, output: "Pass 1\nPass 2\n".into() };
        insta::assert_snapshot!(report(&checked), @r"
        Pass 1
        Pass 2
        it can be mounted: `holdfast reboot` brings it into use
        ");
    }

    #[tokio::test]
    async fn nothing_is_formatted_without_the_word() {
        let args = Args { command: Some(DataCommand::Format { destroy: false }), json: false };
        let failure = run(&Reach::default(), args).await.unwrap_err();
        assert_eq!(failure.exit_code(), 5);
        assert!(failure.to_string().contains("--destroy"), "{failure}");
    }
}
