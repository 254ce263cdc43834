//! Reads secrets: a line that is not shown in the terminal, or all of stdin.
//! Invariant: a secret is never an argument and is never printed.

use std::io::{self, IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::printer;

/// Prints `remark` and reads a line from the terminal. If stdin is not a terminal, reads at most `limit` bytes from it.
pub(crate) fn read(remark: &str, limit: u64) -> io::Result<String> {
    let stdin = io::stdin();
    let mut text = String::new();
    if !stdin.is_terminal() {
        stdin.lock().take(limit).read_to_string(&mut text)?;
        return Ok(text);
    }
    printer::remark(remark);
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let read = stdin.read_line(&mut text);
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    read.map(|_| text)
}
