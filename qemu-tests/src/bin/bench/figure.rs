//! A figure, its aim, and the table of all.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

/// What a figure should be at most.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// Ours divided by the peer's.
    Ratio(f64),
    /// Ours.
    Ours(f64),
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    unit: String,
    ours: f64,
    peer: Option<f64>,
    ratio: Option<f64>,
    aim: String,
    met: bool,
}

impl Figure {
    pub(crate) fn new(name: &str, unit: &str, ours: f64, peer: Option<f64>, aim: Aim) -> Figure {
        let ratio = peer.map(|p| ours / p);
        let (met, aim) = match aim {
            Aim::Ratio(most) => (ratio.is_some_and(|r| r <= most), format!("ratio ≤ {most}")),
            Aim::Ours(most) => (ours <= most, format!("≤ {most} {unit}")),
        };
        Figure { name: name.to_owned(), unit: unit.to_owned(), ours, peer, ratio, aim, met }
    }
}

/// All figures so far.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Figure>);

impl Table {
    pub(crate) fn add(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    pub(crate) fn write(&self, path: &str) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_string_pretty(&self.0)? + "\n")?)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | ours | peer | ratio | aim | met |\n|---|---|---|---|---|---|")?;
        for row in &self.0 {
            let optional = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2}"));
            let (peer, ratio, met) =
                (optional(row.peer), optional(row.ratio), if row.met { "yes" } else { "no" });
            writeln!(
                f,
                "| {} | {:.2} {} | {peer} | {ratio} | {} | {met} |",
                row.name, row.ours, row.unit, row.aim
            )?;
        }
        Ok(())
    }
}
