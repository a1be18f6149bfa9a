//! The caller's terminal during an interactive command.

use agent_api::types::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Raw mode on standard input, until dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Every key goes to the command, Ctrl-C too.
    pub(super) fn enter() -> std::io::Result<Raw> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The size of the terminal; 80 by 24 where it does not say.
pub(super) fn size() -> TerminalSize {
    match tcgetwinsize(std::io::stdin()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            TerminalSize { columns: size.ws_col, rows: size.ws_row }
        }
        _ => TerminalSize { columns: 80, rows: 24 },
    }
}
