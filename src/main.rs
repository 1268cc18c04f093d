//! The command line: parse, hand over.

#[cfg(feature = "ssr")]
fn main() -> std::process::ExitCode {
    stalewatch::server::cli::main()
}

#[cfg(not(feature = "ssr"))]
fn main() {}
