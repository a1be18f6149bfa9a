//! What breaks comes back: a container, the program that manages it, the whole box.

use anyhow::Result;
use qemu_tests::Machine;

use crate::bench::{Bench, ROUNDS, SETTLED};
use crate::figure::{Aim, Figure};
use crate::figures::median;
use crate::ours::{LIMIT, TEXT};

/// `container-killed`: seconds without a page after the container's first process is killed.
pub(crate) fn container(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    killed(bench, name, 0.3, |mine| bench.ours.killed(mine), |peers| bench.peer()?.killed(peers))
}

/// `heal-agent`: seconds from the kill of the agent until another one answers; the page stays. What comes
/// nearest on the peer is conmon, which watches over its container, until another one does.
pub(crate) fn agent(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    killed(bench, name, 1.0, |mine| bench.ours.agent_killed(mine), |peers| bench.peer()?.conmon_killed(peers))
}

/// `heal-power`: seconds from power-on to the page after the power was cut, ours and the peer's in turns. The
/// peer is not made for a cut: when it does not come back, the time that it was waited for counts.
pub(crate) fn power(bench: &Bench, name: &str) -> Result<Vec<Figure>> {
    let (ours, peer) = (&bench.ours, bench.peer()?);
    let mut seconds = [vec![], vec![]];
    for _ in 0..ROUNDS {
        let (mine, peers) = (ours.disk("power.raw")?, peer.disk(ours)?);
        let after = cut(|| ours.machine(&mine, 1024))?;
        seconds[0].push(after.wait_served(TEXT, LIMIT)?.as_secs_f64());
        after.kill()?;
        let after = cut(|| peer.machine(ours, &peers, 1024))?;
        let served = after.wait_served(TEXT, LIMIT).inspect_err(|error| {
            let said = error.to_string();
            eprintln!("  the peer does not serve: {}", said.lines().next().unwrap_or_default());
        });
        seconds[1].push(served.unwrap_or(LIMIT).as_secs_f64());
        after.kill()?;
    }
    Ok(vec![pair(name, seconds, 0.6)])
}

/// Kills something on a box of ours and on one of the peer's in turns, while the other one is left alone.
fn killed(
    bench: &Bench,
    name: &str,
    aim: f64,
    ours: impl Fn(&mut Machine) -> Result<f64>,
    peer: impl Fn(&Machine) -> Result<f64>,
) -> Result<Vec<Figure>> {
    let (mut mine, peers) = (bench.ours.served("killed.raw", true)?, bench.peer()?.served(&bench.ours)?);
    let mut seconds = [vec![], vec![]];
    for _ in 0..ROUNDS {
        std::thread::sleep(SETTLED);
        seconds[0].push(ours(&mut mine)?);
        std::thread::sleep(SETTLED);
        seconds[1].push(peer(&peers)?);
    }
    mine.kill()?;
    peers.kill()?;
    Ok(vec![pair(name, seconds, aim)])
}

/// The boot after the power of a box was cut that served.
fn cut(boot: impl Fn() -> Result<Machine>) -> Result<Machine> {
    let machine = boot()?;
    machine.wait_served(TEXT, LIMIT)?;
    std::thread::sleep(SETTLED);
    machine.kill()?;
    boot()
}

fn pair(name: &str, seconds: [Vec<f64>; 2], aim: f64) -> Figure {
    let [mine, peers] = seconds.map(|mut side| median(&mut side));
    Figure::new(name, "s", mine, Some(peers), Aim::Ratio(aim))
}
