//! The binary `pollscope`; all of it stands in the library beside it.
#![forbid(unsafe_code)]

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn main() -> std::process::ExitCode {
    pollscope_agent::main()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn main() -> std::process::ExitCode {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        b"pollscope: sessions are read on Linux and macOS\n",
    );
    std::process::ExitCode::FAILURE
}
