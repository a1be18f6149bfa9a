//! `volumes`: list, export, import, remove.

use std::io::{ErrorKind, IsTerminal, Write};

use agent_api::routes;
use agent_api::types::{Changed, Volume};

use super::{Outcome, print, restart};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::error::{DONE, Failure};
use crate::text;

const AFTER: &str = "\
A volume is named INSTANCE.VOLUME. Volumes of an instance that is gone stay, unused,
until they are removed by name; with the last one go the instance's secrets.

Examples:
  holdfast volumes
  holdfast volumes ls --json
  holdfast volumes export site.data > data.tar
  holdfast volumes import site.data < data.tar
  holdfast volumes rm old.data";

/// Arguments of `volumes`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<VolumesCommand>,
    /// Print everything as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum VolumesCommand {
    /// List them
    Ls,
    /// Write one as a tar to stdout
    Export {
        /// INSTANCE.VOLUME
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Replace what is in one by a tar from stdin
    Import {
        /// INSTANCE.VOLUME
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Remove one that nothing uses, and all that is in it
    Rm {
        /// INSTANCE.VOLUME
        #[arg(value_parser = name)]
        name: Name,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    instance: String,
    volume: String,
}

fn name(text: &str) -> Result<Name, String> {
    match text.split_once(['.', '/']) {
        Some((instance, volume))
            if !instance.is_empty() && !volume.is_empty() && !volume.contains(['.', '/']) =>
        {
            Ok(Name { instance: instance.to_owned(), volume: volume.to_owned() })
        }
        _ => Err("write INSTANCE.VOLUME, as `holdfast volumes` lists them".to_owned()),
    }
}

impl Name {
    fn path(&self, route: &str) -> String {
        path(route, &[("instance", &self.instance), ("volume", &self.volume)], &[])
    }
}

/// Runs `volumes`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    match args.command {
        None | Some(VolumesCommand::Ls) => {
            let volumes: Vec<Volume> = connect(reach).await?.get(routes::VOLUMES).await?;
            print(&if args.json { text::json(&volumes)? } else { page(&volumes) })?;
            Ok(DONE)
        }
        Some(VolumesCommand::Export { name }) => export(reach, &name).await,
        Some(VolumesCommand::Import { name }) => {
            if std::io::stdin().is_terminal() {
                return Err(Failure::invalid("the tar comes on stdin, which is a terminal")
                    .hint("`holdfast volumes import INSTANCE.VOLUME < FILE.tar`"));
            }
            let path = name.path(routes::VOLUME_CONTENT);
            let changed: Changed = connect(reach).await?.put_stream(&path, tokio::io::stdin()).await?;
            restart::finish(&changed, args.json)
        }
        Some(VolumesCommand::Rm { name }) => {
            let changed: Changed = connect(reach).await?.delete(&name.path(routes::VOLUME)).await?;
            restart::finish(&changed, args.json)
        }
    }
}

async fn export(reach: &Reach, name: &Name) -> Outcome {
    if std::io::stdout().is_terminal() {
        return Err(Failure::invalid("the tar goes to stdout, which is a terminal")
            .hint("`holdfast volumes export INSTANCE.VOLUME > FILE.tar`"));
    }
    // The connection lives as long as the client.
    let mut client = connect(reach).await?;
    let mut stream = client.stream(&name.path(routes::VOLUME_CONTENT)).await?;
    let mut out = std::io::stdout().lock();
    while let Some(bytes) = stream.chunk().await? {
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever has stopped reading knows, and a script is told that it is not all.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                return Ok(agent_api::types::ErrorKind::Failed.exit_code());
            }
            Err(error) => return Err(Failure::failed(format!("failed to write: {error}"))),
        }
    }
    Ok(DONE)
}

fn page(volumes: &[Volume]) -> String {
    if volumes.is_empty() {
        return "no volumes\n".to_owned();
    }
    let row = |volume: &Volume| {
        vec![
            format!("{}.{}", volume.instance, volume.name),
            volume.used.map(text::size).unwrap_or_default(),
            volume.size.map(text::size).unwrap_or_default(),
            if volume.in_use { "in use" } else { "unused" }.to_owned(),
        ]
    };
    text::table(&["VOLUME", "USED", "QUOTA", "STATE"], &volumes.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let site = Name { instance: "site".into(), volume: "data".into() };
        assert_eq!(name("site.data"), Ok(site.clone()));
        assert_eq!(name("site/data"), Ok(site.clone()));
        assert_eq!(site.path(routes::VOLUME_CONTENT), "/v1/volumes/site/data/content");
        for wrong in ["site", ".data", "site.", "a.b.c", "a/b/c", ""] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn volumes() {
        let volume = |instance: &str, size, in_use| Volume {
            instance: instance.into(),
            name: "data".into(),
            id: "v1".into(),
            size,
            used: size.map(|_| 4096),
            in_use,
        };
        insta::assert_snapshot!(page(&[volume("site", Some(10 << 30), true), volume("old", None, false)]), @r"
        VOLUME     USED  QUOTA  STATE
        site.data  4.0K  10G    in use
        old.data   -     -      unused
        ");
    }
}
