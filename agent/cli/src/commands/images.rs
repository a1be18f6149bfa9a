//! `images`: what is in the store.

use agent_api::routes;
use agent_api::types::{Image, Pruned};

use super::{Outcome, print};
use crate::cli::Reach;
use crate::connect::connect;
use crate::error::DONE;
use crate::text;

const AFTER: &str = "\
Examples:
  holdfast images
  holdfast images --json
  holdfast images prune";

/// Arguments of `images`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<ImagesCommand>,
    /// Print everything as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum ImagesCommand {
    /// Remove images that nothing uses
    Prune,
}

/// Runs `images`.
pub(crate) async fn run(reach: &Reach, args: Args) -> Outcome {
    let mut client = connect(reach).await?;
    let page = match args.command {
        None => {
            let images: Vec<Image> = client.get(routes::IMAGES).await?;
            if args.json { text::json(&images)? } else { page(&images) }
        }
        Some(ImagesCommand::Prune) => {
            let pruned: Pruned = client.post(routes::IMAGES_PRUNE).await?;
            if args.json { text::json(&pruned)? } else { done(&pruned) }
        }
    };
    print(&page)?;
    Ok(DONE)
}

fn page(images: &[Image]) -> String {
    if images.is_empty() {
        return "no images\n".to_owned();
    }
    let row = |image: &Image| {
        vec![
            image.references.join(" "),
            text::short_digest(&image.digest),
            text::size(image.size),
            image.used_by.join(" "),
        ]
    };
    text::table(&["IMAGE", "DIGEST", "SIZE", "USED BY"], &images.iter().map(row).collect::<Vec<_>>())
}

fn done(pruned: &Pruned) -> String {
    match pruned.images.len() {
        0 if pruned.freed == 0 => "nothing to remove\n".to_owned(),
        0 => format!("no image removed, {} freed\n", text::size(pruned.freed)),
        1 => format!("1 image removed, {} freed\n", text::size(pruned.freed)),
        many => format!("{many} images removed, {} freed\n", text::size(pruned.freed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_pruning() {
        let image = |reference: &str, used_by: &[&str]| Image {
            references: vec![reference.into()],
            digest: format!("sha256:{}", "ab".repeat(32)),
            size: 54_000_000,
            used_by: used_by.iter().map(|name| (*name).into()).collect(),
        };
        let images =
            [image("registry.example.org/nginx:1", &["site.web", "b.web"]), image("localhost/x:2", &[])];
        insta::assert_snapshot!(page(&images), @r"
        IMAGE                         DIGEST        SIZE  USED BY
        registry.example.org/nginx:1  abababababab  51M   site.web b.web
        localhost/x:2                 abababababab  51M   -
        ");
        assert_eq!(page(&[]), "no images\n");
        assert_eq!(done(&Pruned { images: vec![], freed: 0 }), "nothing to remove\n");
        assert_eq!(done(&Pruned { images: vec![], freed: 2048 }), "no image removed, 2.0K freed\n");
        assert_eq!(done(&Pruned { images: vec!["x".into()], freed: 2048 }), "1 image removed, 2.0K freed\n");
    }
}
