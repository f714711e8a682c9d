//! Functions of every shape under `#[pollscope::instrument]`, with every argument.

use std::fmt::Display;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;
use tracing::{Level, info_span};

const TARGET: &str = "a::target";
const LEVEL: Level = Level::ERROR;
const KEY: &str = "key.of.a.constant";

pub async fn run() {
    let held = Till { float: 7 };
    shapes(&held).await;
    arguments(&held).await;
    drops().await;
    results().await;
}

async fn shapes(held: &Till) {
    plain(1, "one", Some(2));
    waits(Duration::from_millis(200)).await;
    held.method(3);
    held.async_method(4).await;
    generic(5u8, "five").await;
    let shown = gives_impl(6);
    assert_eq!(shown.to_string(), "6");
    gives_future(7).await;
    boxed(8).await;
    held.through_a_trait(9).await;
    Till::by_default(10);
    destructured((11, "eleven"), Pair { left: 12, right: 13 }, &[14]);
    let mut list = vec![15];
    *borrows(&mut list) += 1;
    assert_eq!(list, [16]);
    owns(String::from("seventeen")).await;
    question("18").expect("18 is a number");
    async_question("19").await.expect("19 is a number");
    early(20);
    far(21);
    lines::six();
    let sum = lines::one() + lines::two() + lines::four().await + lines::seven();
    assert_eq!((sum, lines::three(), lines::five().await), (14, Ok(3), Ok(5)));
}

#[pollscope::instrument]
fn plain(number: u64, text: &str, maybe: Option<u8>) {
    let _ = (number, text, maybe);
}

#[pollscope::instrument]
async fn waits(length: Duration) {
    tokio::time::sleep(length).await;
}

#[derive(Debug)]
struct Till {
    float: u64,
}

impl Till {
    #[pollscope::instrument(fields(float = self.float))]
    fn method(&self, n: u64) -> u64 {
        self.float + n
    }

    #[pollscope::instrument(skip(self))]
    async fn async_method(&self, n: u64) -> u64 {
        tokio::task::yield_now().await;
        self.float + n
    }
}

#[async_trait::async_trait]
trait Through {
    async fn through_a_trait(&self, n: u64) -> u64;

    fn by_default(n: u64) -> u64 {
        n
    }
}

#[async_trait::async_trait]
impl Through for Till {
    #[pollscope::instrument(skip(self), ret)]
    async fn through_a_trait(&self, n: u64) -> u64 {
        tokio::task::yield_now().await;
        self.float + n
    }

    #[pollscope::instrument]
    fn by_default(n: u64) -> u64 {
        n
    }
}

#[pollscope::instrument]
async fn generic<T: std::fmt::Debug + Clone, S>(value: T, text: S) -> (T, String)
where
    S: AsRef<str> + std::fmt::Debug,
{
    (value.clone(), text.as_ref().to_owned())
}

#[pollscope::instrument(ret(Display))]
fn gives_impl(n: u64) -> impl Display {
    n
}

#[pollscope::instrument]
fn gives_future(n: u64) -> impl Future<Output = u64> {
    async move {
        tokio::task::yield_now().await;
        n
    }
}

#[pollscope::instrument]
fn boxed<'a>(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send + 'a>> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        n
    })
}

#[derive(Debug)]
struct Pair {
    left: u8,
    right: u8,
}

#[pollscope::instrument]
fn destructured((first, second): (u8, &str), Pair { left, right: other }: Pair, &[only]: &[u8; 1]) -> u8 {
    let _ = second;
    first + left + other + only
}

#[pollscope::instrument(ret)]
fn borrows(list: &mut Vec<u64>) -> &mut u64 {
    &mut list[0]
}

#[pollscope::instrument]
async fn owns(text: String) -> usize {
    drop(text);
    0
}

#[pollscope::instrument]
fn question(text: &str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let number: u64 = text.parse()?;
    Ok(number)
}

#[pollscope::instrument]
async fn async_question(text: &str) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let number: u64 = text.parse()?;
    Ok(number)
}

#[pollscope::instrument(ret)]
fn early(n: u64) -> Option<u64> {
    if n > 1 {
        return None;
    }
    Some(n)
}

#[pollscope::instrument]
extern "C" fn far(n: u64) -> u64 {
    n
}

// In one line, and with an attribute of their own: none of these may warn.
#[rustfmt::skip]
mod lines {
    #[pollscope::instrument]
    pub fn one() -> u64 { 1 }
    #[pollscope::instrument(ret)]
    pub fn two() -> u64 { 2 }
    #[pollscope::instrument(err)]
    pub fn three() -> Result<u64, String> { Ok(3) }
    #[pollscope::instrument]
    pub async fn four() -> u64 { 4 }
    #[pollscope::instrument(err, ret)]
    pub async fn five() -> Result<u64, String> { Ok(5) }
    #[pollscope::instrument]
    pub fn six() {}
    #[pollscope::instrument]
    pub fn seven() -> u64 {
        #![allow(unused_variables)]
        let unused = 7;
        7
    }
}

async fn arguments(held: &Till) {
    renamed();
    renamed_by_a_literal();
    elsewhere(1);
    at_a_constant_level();
    skips(1, 2, 3);
    skips_all(1);
    fields(1, "who", NonZeroU32::MIN, held);
    overridden(1);
    let parent = info_span!("a parent");
    let other = info_span!("another parent");
    other.in_scope(|| {
        under(&parent);
        under_current(pollscope::current(), 1);
        under_none();
        follows(std::slice::from_ref(&parent), &[other.id(), None]);
    });
}

#[pollscope::instrument(name = "another name")]
fn renamed() {}

#[pollscope::instrument("a literal name")]
fn renamed_by_a_literal() {}

#[pollscope::instrument(target = TARGET, level = "debug")]
fn elsewhere(_unused: u8) {}

#[pollscope::instrument(level = LEVEL)]
fn at_a_constant_level() {}

#[pollscope::instrument(skip(first, third), level = 4)]
fn skips(first: u8, second: u8, third: u8) {
    let _ = (first, second, third);
}

/// Not shown anyhow.
struct Opaque;

#[pollscope::instrument(skip_all, level = Level::TRACE)]
fn skips_all(first: u8) {
    let _ = (first, Opaque);
}

#[pollscope::instrument(skip_all, fields(
    n,
    double = n * 2,
    http.path = "/orders",
    "a text key" = true,
    { KEY } = 1.5,
    %who,
    by_debug = ?who,
    ?held.float,
    one.get = one,
    maybe = Some(3),
    nothing = None::<u8>,
    later = tracing::field::Empty,
    displayed = tracing::field::display(who),
    otel.kind = "consumer",
    r#type = "raw",
))]
fn fields(n: u64, who: &str, one: NonZeroU32, held: &Till) {}

#[pollscope::instrument(fields(n = n + 40))]
fn overridden(n: u64) {}

#[pollscope::instrument(skip_all, parent = parent)]
fn under(parent: &tracing::Span) {}

#[pollscope::instrument(name = "under current", skip(at), parent = at)]
fn under_current(at: pollscope::Current, n: u64) {}

#[pollscope::instrument(name = "under none", parent = None)]
fn under_none() {}

#[pollscope::instrument(skip_all, follows_from = causes.iter().map(tracing::Span::id).chain(more.iter().cloned()))]
fn follows(causes: &[tracing::Span], more: &[Option<tracing::Id>]) {}

/// Opens a span when it is dropped.
struct Last(&'static str);

impl Drop for Last {
    fn drop(&mut self) {
        info_span!("last", otel.name = self.0).in_scope(|| ());
    }
}

#[pollscope::instrument]
async fn cancelled() {
    let _last = Last("dropped with the cancelled one");
    std::future::pending::<()>().await;
}

#[pollscope::instrument(skip(last), ret)]
async fn completed(last: Last) {
    drop(last);
}

#[pollscope::instrument]
async fn panics() {
    let _last = Last("dropped with the panicking one");
    tokio::task::yield_now().await;
    panic!("as the script says");
}

#[pollscope::instrument]
async fn warns() {
    tracing::warn!(sign = "amber", "inside");
}

#[pollscope::instrument]
fn panics_at_once() {
    panic!("as the script says");
}

async fn drops() {
    // Polled once, then dropped.
    tokio::select! {
        biased;
        () = cancelled() => {}
        () = std::future::ready(()) => {}
    }
    completed(Last("dropped with the completed one")).await;
    warns().await;
    let _ = pollscope::spawn(panics()).await;
    let _ = std::panic::catch_unwind(panics_at_once);
}

async fn results() {
    let _ = fails(1);
    let _ = fails_by_debug(2).await;
    let _ = fails_mildly(3);
    let _ = both(true);
    let _ = both(false);
    assert_eq!(fails_through_a_trait(5).await, Err(Sold));
}

#[derive(Debug, PartialEq)]
struct Sold;

impl Display for Sold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sold out")
    }
}

#[pollscope::instrument(err)]
fn fails(n: u64) -> Result<u64, Sold> {
    let _ = n;
    Err(Sold)
}

#[pollscope::instrument(err(Debug))]
async fn fails_by_debug(n: u64) -> Result<u64, Sold> {
    tokio::task::yield_now().await;
    let _ = n;
    Err(Sold)
}

#[pollscope::instrument(err(level = "info", Display), ret(level = "debug", Debug))]
fn fails_mildly(n: u64) -> Result<u64, Sold> {
    let _ = n;
    Err(Sold)
}

#[pollscope::instrument(err, ret)]
fn both(well: bool) -> Result<u64, Sold> {
    if well { Ok(4) } else { Err(Sold) }
}

#[pollscope::instrument(err)]
fn fails_through_a_trait<'a>(n: u64) -> Pin<Box<dyn Future<Output = Result<u64, Sold>> + Send + 'a>> {
    Box::pin(async move {
        let _ = n;
        Err(Sold)
    })
}
