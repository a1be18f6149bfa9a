//! The far end of `--host`: joins standard input and output to the agent's socket, byte for byte.

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::UnixStream;

use super::Outcome;
use crate::cli::Reach;
use crate::error::{DONE, Failure};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs until either side ends. The socket's end is the end: a client that has its answer may keep its
/// own side open.
pub(crate) async fn run(reach: &Reach, _: Args) -> Outcome {
    let socket = UnixStream::connect(&reach.socket).await.map_err(|error| {
        Failure::from(agent_api::ClientError::Unreachable(format!("{}: {error}", reach.socket.display())))
    })?;
    let (mut from, mut to) = socket.into_split();
    let sending = async {
        let _ = copy(&mut tokio::io::stdin(), &mut to).await;
        let _ = to.shutdown().await;
        // The answer may still be on its way.
        std::future::pending::<()>().await;
    };
    let receiving = async {
        let mut stdout = tokio::io::stdout();
        let copied = copy(&mut from, &mut stdout).await;
        copied.and(stdout.flush().await)
    };
    tokio::select! {
        () = sending => Ok(DONE),
        received = receiving => match received {
            Ok(()) => Ok(DONE),
            Err(error) => Err(Failure::failed(format!("the connection broke: {error}"))),
        },
    }
}
