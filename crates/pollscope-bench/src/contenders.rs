//! The contenders, and how their programs are built.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One contender in one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// What it is called here.
    pub name: &'static str,
    /// Its package.
    pub package: &'static str,
    /// Built with `--cfg tokio_unstable`.
    pub unstable: bool,
    /// Variables that it is run with.
    pub env: &'static [(&'static str, &'static str)],
    /// The workloads that it has no counterpart for.
    pub lacks: &'static [&'static str],
}

const fn stable(name: &'static str, package: &'static str, lacks: &'static [&'static str]) -> Contender {
    Contender { name, package, unstable: false, env: &[], lacks }
}

/// tokio alone, the base of every comparison; with the flag where the contender has it.
pub const BARE: Contender = stable("bare", "bench-bare", &[]);

/// All of them, in the order of the table.
pub const ALL: &[Contender] = &[
    stable("pollscope", "bench-pollscope", &[]),
    Contender { unstable: true, ..stable("pollscope, tokio_unstable", "bench-pollscope", &[]) },
    stable("pollscope by tracing", "bench-pollscope-tracing", &["job"]),
    Contender { env: &[("POLLSCOPE", "off")], ..stable("pollscope, off", "bench-pollscope", &[]) },
    stable("tokio-metrics", "bench-tokio-metrics", &["span", "open-span", "job"]),
    Contender {
        unstable: true,
        ..stable("console-subscriber", "bench-console", &["span", "open-span", "job"])
    },
    Contender {
        unstable: true,
        env: &[("BENCH_CLIENT", "1")],
        ..stable("console-subscriber, followed", "bench-console", &["span", "open-span", "job"])
    },
    stable("dial9", "bench-dial9", &["open-span", "job"]),
    Contender { unstable: true, ..stable("dial9, tokio_unstable", "bench-dial9", &["open-span", "job"]) },
    stable("tracing + OpenTelemetry", "bench-otel", &["job"]),
    stable("fastrace", "bench-fastrace", &["job"]),
    stable("hotpath", "bench-hotpath", &["open-span", "job"]),
];

/// Those whose names are asked for; all, if none is.
pub fn chosen(names: &[String]) -> anyhow::Result<Vec<Contender>> {
    for name in names {
        let known = ALL.iter().any(|contender| contender.name == name);
        let all: Vec<_> = ALL.iter().map(|contender| contender.name).collect();
        ensure!(known, "no contender `{name}`; there are: {}", all.join("; "));
    }
    Ok(ALL.iter().filter(|c| names.is_empty() || names.iter().any(|name| name == c.name)).copied().collect())
}

impl Contender {
    /// tokio alone in the same configuration.
    pub fn base(&self) -> Contender {
        Contender { unstable: self.unstable, ..BARE }
    }

    /// Its program.
    pub fn program(&self) -> PathBuf {
        target(self.unstable).join("release").join(self.package)
    }
}

/// The project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/pollscope-bench is two below the root")
}

fn target(unstable: bool) -> PathBuf {
    root().join("target").join(if unstable { "bench-unstable" } else { "bench" })
}

/// Builds the programs of these contenders and of their bases.
pub fn build(contenders: &[Contender]) -> anyhow::Result<()> {
    for unstable in [false, true] {
        let mut packages: Vec<&str> =
            contenders.iter().filter(|c| c.unstable == unstable).map(|c| c.package).collect();
        if packages.is_empty() {
            continue;
        }
        packages.push(BARE.package);
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "-q", "--release", "--locked"]);
        cargo.args(packages.iter().flat_map(|package| ["-p", package]));
        cargo.current_dir(root().join("crates/pollscope-bench/contenders"));
        cargo.env("CARGO_TARGET_DIR", target(unstable));
        if unstable {
            cargo.env("RUSTFLAGS", "--cfg tokio_unstable");
        }
        eprintln!("building {}{}", packages.join(", "), if unstable { " with tokio_unstable" } else { "" });
        let done = cargo.status().context("cargo, which builds the contenders, did not start")?;
        ensure!(done.success(), "the contenders were not built: {done}");
    }
    Ok(())
}

/// Builds the agent as it is shipped.
pub fn build_agent() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "-q", "--release", "-p", "pollscope-agent"]).current_dir(root());
    let done = cargo.status().context("cargo, which builds the agent, did not start")?;
    ensure!(done.success(), "the agent was not built: {done}");
    Ok(root().join("target/release/pollscope"))
}
