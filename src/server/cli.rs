//! The commands and what each hands over to.

use std::process::ExitCode;

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
