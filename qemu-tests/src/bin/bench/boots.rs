//! `boot-first` and `boot-later`: from power-on to the page, ours and the peer's in turns.

use anyhow::Result;

use crate::bench::{Bench, ROUNDS};
use crate::figure::{Aim, Figure};
use crate::figures::median;
use crate::ours::{Boot, Ours};
use crate::peer::Peer;

/// First and later boots, each ours and the peer's.
#[derive(Default)]
pub(crate) struct Boots {
    first: Vec<[Boot; 2]>,
    later: Vec<[Boot; 2]>,
}

impl Boots {
    pub(crate) fn measure(ours: &Ours, peer: &Peer) -> Result<Boots> {
        let mut boots = Boots::default();
        for _ in 0..ROUNDS {
            let ([first, later], [peers_first, peers_later]) = (ours.boots()?, peer.boots(ours)?);
            boots.first.push([first, peers_first]);
            boots.later.push([later, peers_later]);
        }
        Ok(boots)
    }
}

/// Wall time, and QEMU's CPU time, which is steadier.
pub(crate) fn figures(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let boots = bench.boots()?;
    let pairs = if name == "boot-first" { &boots.first } else { &boots.later };
    let figure = |name: &str, seconds: fn(&Boot) -> f64| {
        let [ours, peer] =
            [0, 1].map(|side| median(&mut pairs.iter().map(|pair| seconds(&pair[side])).collect::<Vec<_>>()));
        Figure::new(name, "s", ours, Some(peer), Aim::Ratio(0.6))
    };
    Ok(vec![figure(name, |boot| boot.wall), figure(&format!("{name}-cpu"), |boot| boot.cpu)])
}
