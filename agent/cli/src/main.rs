//! `holdfast`: what an admin does with a box, on it or from a workstation.
//!
//! Every command is one request to the agent's API, or a few, and a page of text or JSON. The program
//! decides nothing about the box and changes nothing on it itself. It is also the login program of the
//! user `admin`: see [`login`]. Exit codes are those of [`error`].

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod connect;
mod error;
mod login;
mod sftp;
mod text;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use error::Failure;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let args = match login::arguments(args) {
        Ok(args) => args,
        Err(refusal) => {
            error::tell(&refusal);
            if refusal.is_sftp() {
                let reason = refusal.to_string().replace('\n', "; ");
                // A client that has gone needs no reason.
                let _ = sftp::refuse(std::io::stdin().lock(), std::io::stdout().lock(), &reason);
            }
            return ExitCode::from(refusal.exit_code());
        }
    };
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // What cannot be printed has nobody to read it.
            let _ = error.print();
            return ExitCode::from(cli::exit_code_of(&error, &args));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::failed(format!("failed to start: {error}"));
            error::tell(&failure);
            return ExitCode::from(failure.exit_code());
        }
    };
    let code = runtime.block_on(async {
        tokio::select! {
            // The command first: until it waits for something, Ctrl-C has its plain effect.
            biased;
            result = commands::run(cli) => result.unwrap_or_else(|failure| {
                error::tell(&failure);
                failure.exit_code()
            }),
            () = interrupted() => error::INTERRUPTED,
        }
    });
    // A read of standard input that still waits must not hold the end up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Ends when Ctrl-C is pressed. Requests are whole or not made, so nothing is left half done.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
