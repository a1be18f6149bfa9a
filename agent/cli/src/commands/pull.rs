//! `pull`: resolves tags again.

use agent_api::routes;
use agent_api::types::Pulled;

use super::{Outcome, code_of, print, word};
use crate::cli::Reach;
use crate::connect::{connect, path};
use crate::text;

const AFTER: &str = "\
The containers are replaced when an image has changed; when the new one does not become
healthy, the old one runs again.

Exit codes: 0 done or unchanged, 1 the new image was not healthy and the old one is back,
3 the instance is degraded.

Examples:
  holdfast pull site
  holdfast pull --json site";

/// Arguments of `pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The instance
    instance: String,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `pull`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let path = path(routes::PULL, &[("name", &args.instance)], &[]);
    let pulled: Pulled = connect(reach).await?.post(&path).await?;
    print(&if args.json { text::json(&pulled)? } else { page(&pulled) })?;
    Ok(code(&pulled))
}

fn code(pulled: &Pulled) -> u8 {
    if pulled.rolled_back { 1 } else { code_of(pulled.health) }
}

fn page(pulled: &Pulled) -> String {
    let mut page = String::new();
    for image in &pulled.images {
        let new = text::short_digest(&image.new);
        let change = match &image.old {
            Some(old) if *old == image.new => format!("unchanged ({new})"),
            Some(old) => format!("{} -> {new}", text::short_digest(old)),
            None => format!("new ({new})"),
        };
        page += &format!("{}: {}\n", text::plain(&image.reference), text::plain(&change));
    }
    page + &if pulled.rolled_back {
        "the new image was not healthy: the old one runs again\n".to_owned()
    } else {
        format!("the instance is {}\n", word(pulled.health))
    }
}

#[cfg(test)]
mod tests {
    use agent_api::types::{Health, PulledImage};

    use super::*;

    #[test]
    fn digests_and_ends() {
        let digest = |byte: &str| format!("sha256:{}", byte.repeat(32));
        let image = |reference: &str, old: Option<&str>| PulledImage {
            reference: reference.into(),
            old: old.map(digest),
            new: digest("cd"),
        };
        let images = vec![image("r/a:1", Some("ab")), image("r/b:1", Some("cd")), image("r/c:1", None)];
        let mut pulled = Pulled { images, health: Health::Healthy, rolled_back: false };
        insta::assert_snapshot!(page(&pulled), @r"
        r/a:1: abababababab -> cdcdcdcdcdcd
        r/b:1: unchanged (cdcdcdcdcdcd)
        r/c:1: new (cdcdcdcdcdcd)
        the instance is healthy
        ");
        assert_eq!(code(&pulled), 0);
        pulled.health = Health::Degraded;
        assert_eq!(code(&pulled), 3);
        pulled.rolled_back = true;
        assert_eq!(code(&pulled), 1);
        assert!(page(&pulled).ends_with("the old one runs again\n"));
    }
}
