//! The way out of one signal: its pipeline, and what was said of it so far.

use anyhow::{Context, Result};
use pollscope_export::{Batch, Client, Config, Limits, Pipeline, Settled, Signal, Stats};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

pub struct Outlet {
    pub pipeline: Pipeline,
    pub signal: Signal,
    said_failing: bool,
    /// Items refused so far, and why as it was last said.
    refused: (u64, String),
    /// The last warning that was said.
    warned: String,
}

impl Outlet {
    /// Starts to send; `delay`: how long a batch may stay open.
    pub fn start(
        config: &Config,
        delay: Duration,
        batches: Vec<Batch>,
        tell: UnboundedSender<Settled>,
    ) -> Result<Outlet> {
        let client = Client::new(config).context("cannot make a client for the endpoint")?;
        let on_settled = Box::new(move |settled| {
            let _ = tell.send(settled);
        });
        let limits = Limits { delay, ..Limits::default() };
        let pipeline = Pipeline::start(config.signal, limits, client, batches, on_settled);
        let (refused, warned) = ((0, String::new()), String::new());
        Ok(Outlet { pipeline, signal: config.signal, said_failing: false, refused, warned })
    }

    /// What is to be said now.
    pub fn news(&mut self, stats: &Stats) -> Vec<String> {
        let items = self.signal.items();
        let mut news = Vec::new();
        let why = stats.last_error.as_ref().map_or("", |error| &error.text);
        match (self.said_failing, stats.failing) {
            (false, true) => {
                news.push(why.to_owned());
                if stats.sent == 0 {
                    news.push("traces can be seen without a backend: pollscope traces".to_owned());
                }
            }
            (true, false) => news.push(format!("the backend takes {items} again")),
            _ => {}
        }
        self.said_failing = stats.failing;
        let refused = stats.dropped_refused;
        if refused > self.refused.0 && self.refused.1 != why {
            news.push(format!("{refused} {items} were refused: {why}"));
            self.refused.1 = why.to_owned();
        }
        self.refused.0 = refused;
        if let Some(warning) = &stats.last_warning
            && warning.text != self.warned
        {
            news.push(warning.text.clone());
            self.warned.clone_from(&warning.text);
        }
        news
    }
}
