//! HTTP on hyper, driven by `wrk`: every request one task and one span.

use crate::contenders::{self, Contender};
use crate::follow;
use crate::report::Table;
use crate::stats::Spread;
use anyhow::{Context, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Connections that `wrk` holds.
const CONNECTIONS: &str = "32";
const WORKERS: &str = "2";

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub peak_mb: f64,
}

/// Measures and prints.
pub fn run(rounds: usize, seconds: u32, names: &[String]) -> anyhow::Result<()> {
    let contenders = contenders::chosen(names)?;
    have_wrk()?;
    contenders::build(&contenders)?;
    let heads =
        ["contender", "requests/s against bare", "requests/s", "p50, µs", "p99, µs", "peak memory, MB"];
    let mut table = Table::new(heads.map(str::to_owned).to_vec());
    let mut bare = Vec::new();
    for contender in &contenders {
        eprintln!("{} ({rounds} rounds of twice {seconds} s)", contender.name);
        let (mut ratios, mut served) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let (with, without) = if round % 2 == 0 {
                let without = serve(&contender.base(), seconds)?;
                (serve(contender, seconds)?, without)
            } else {
                (serve(contender, seconds)?, serve(&contender.base(), seconds)?)
            };
            ratios.push(with.per_second / without.per_second);
            served.push(with);
            bare.push(without);
        }
        table.row(line(contender.name, Some(&ratios), &served));
    }
    table.row(line("bare", None, &bare));
    print!("{table}");
    Ok(())
}

fn line(name: &str, ratios: Option<&[f64]>, served: &[Served]) -> Vec<String> {
    let middle = |of: fn(&Served) -> f64| {
        let numbers: Vec<f64> = served.iter().map(of).collect();
        Spread::of(&numbers).map_or_else(|| "-".to_owned(), |spread| format!("{:.0}", spread.median))
    };
    let against = ratios
        .and_then(Spread::of)
        .map_or_else(|| "1".to_owned(), |s| format!("{:.3} ({:.3} to {:.3})", s.median, s.least, s.most));
    let peak = served.iter().map(|s| s.peak_mb).fold(0.0, f64::max);
    vec![
        name.to_owned(),
        against,
        middle(|s| s.per_second),
        middle(|s| s.p50_us),
        middle(|s| s.p99_us),
        format!("{peak:.1}"),
    ]
}

fn have_wrk() -> anyhow::Result<()> {
    // It has no way to ask for its version alone: that prints it and exits with an error.
    let asked = Command::new("wrk").arg("--version").output();
    asked.map(drop).context("wrk, which drives the requests, is not installed: apt-get install wrk")
}

/// One contender's server under load for so many seconds.
pub fn serve(contender: &Contender, seconds: u32) -> anyhow::Result<Served> {
    let dir = follow::scratch()?;
    let mut server = Server::start(contender, dir.path())?;
    load(server.port, 1)?;
    let served = load(server.port, seconds)?;
    let peak_mb = peak_mb(server.child.id())?;
    server.stop();
    Ok(Served { peak_mb, ..served })
}

/// A contender's server, which ends with this.
pub struct Server {
    pub child: Child,
    pub port: u16,
}

impl Server {
    /// Starts it and waits for its port.
    pub fn start(contender: &Contender, dir: &std::path::Path) -> anyhow::Result<Server> {
        let mut command = follow::command(contender, dir, &["http", "1", WORKERS]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| contender.program().display().to_string())?;
        let mut line = String::new();
        let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        match (read, line.trim().parse()) {
            (Some(Ok(_)), Ok(port)) => Ok(Server { child, port }),
            _ => {
                follow::end(&mut child);
                anyhow::bail!("{}: its server told no port", contender.name)
            }
        }
    }

    /// Ends it as a service ends, or by force if it does not.
    pub fn stop(&mut self) {
        drop(self.child.stdin.take());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        follow::end(&mut self.child);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        follow::end(&mut self.child);
    }
}

/// What `wrk` tells of so many seconds.
pub fn load(port: u16, seconds: u32) -> anyhow::Result<Served> {
    let (duration, url) = (format!("{seconds}s"), format!("http://127.0.0.1:{port}/"));
    let output =
        Command::new("wrk").args(["-t1", "-c", CONNECTIONS, "-d", &duration, "--latency", &url]).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}\n{told}", output.status);
    let word = |head: &str| {
        let line = told.lines().find_map(|line| line.trim().strip_prefix(head))?;
        Some(line.split_whitespace().next()?.to_owned())
    };
    let parsed = (|| {
        Some(Served {
            per_second: word("Requests/sec:")?.parse().ok()?,
            p50_us: micros(&word("50%")?)?,
            p99_us: micros(&word("99%")?)?,
            peak_mb: 0.0,
        })
    })();
    parsed.with_context(|| format!("wrk told something else than expected:\n{told}"))
}

/// `1.5ms`, `230.00us`, `2.00s` in microseconds.
fn micros(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_alphabetic())?;
    let number: f64 = text[..at].parse().ok()?;
    let unit = match &text[at..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number * unit)
}

/// The most memory that a process held at once.
pub fn peak_mb(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = kilobytes.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kilobytes.context("no VmHWM in the status of a process")? / 1024.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn lengths_of_wrk_are_micros() {
        assert_eq!(super::micros("230.50us"), Some(230.5));
        assert_eq!(super::micros("1.5ms"), Some(1500.0));
        assert_eq!(super::micros("2.00s"), Some(2_000_000.0));
        assert_eq!(super::micros("fast"), None);
    }
}
