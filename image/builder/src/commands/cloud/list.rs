//! `images` and `boxes`: what there is at a provider.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::{Access, Provider, Session};
use crate::output;

const EXAMPLES: &str = "\
The newest comes first. Only what was made by `holdfast-image` is shown.

Examples:
  holdfast-image images digitalocean
  holdfast-image boxes ovh --region GRA11
  holdfast-image boxes openstack --cloud work --json";

/// Arguments of `images` and `boxes`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where.
    #[arg(value_enum)]
    provider: Provider,
    #[command(flatten)]
    access: Access,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `images`.
pub(crate) fn images(args: Args) -> Result<ExitCode> {
    let images = Session::open(args.provider, &args.access)?.images()?;
    let rows = images.iter().map(|i| [&i.id, &i.name, &i.state, &i.created].map(String::clone));
    show(&images, ["ID", "NAME", "STATE", "CREATED"], rows.collect(), args.json)
}

/// Runs `boxes`.
pub(crate) fn boxes(args: Args) -> Result<ExitCode> {
    let servers = Session::open(args.provider, &args.access)?.servers()?;
    let rows = servers.iter().map(|s| [s.id.clone(), s.name.clone(), s.state.clone(), s.addresses.join(" ")]);
    show(&servers, ["ID", "NAME", "STATE", "ADDRESSES"], rows.collect(), args.json)
}

fn show<T: Serialize>(all: &[T], header: [&str; 4], rows: Vec<[String; 4]>, json: bool) -> Result<ExitCode> {
    output::print(&if json { serde_json::to_string_pretty(all)? + "\n" } else { table(header, &rows) })?;
    Ok(ExitCode::SUCCESS)
}

/// Columns as wide as need be; what a terminal would obey becomes `?`. Empty without rows.
fn table(header: [&str; 4], rows: &[[String; 4]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let clean = |text: &str| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    let rows: Vec<[String; 4]> = std::iter::once(header.map(str::to_owned))
        .chain(rows.iter().map(|row| [0, 1, 2, 3].map(|at| clean(&row[at]))))
        .collect();
    let widths = [0, 1, 2, 3].map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; 4]| {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_harmless() {
        let rows = [["1", "hub\u{1b}[1m", "active", "203.0.113.7 2001:db8::7"].map(str::to_owned)];
        let shown = table(["ID", "NAME", "STATE", "ADDRESSES"], &rows);
        assert_eq!(shown, "ID  NAME     STATE   ADDRESSES\n1   hub?[1m  active  203.0.113.7 2001:db8::7\n");
        assert_eq!(table(["ID", "NAME", "STATE", "ADDRESSES"], &[]), "");
    }
}
