//! Runtimes: their threads are told apart by hooks, beside the user's own.

use crate::recorder::{self, KeyPlace, Kind, Recorder, add};
use crate::state::{self, Global};
use crate::task::{Birth, Recorded, Within};
use pollscope_wire::layout::{RowKind, row, runtime as words, words as thread_words};
use pollscope_wire::record::{kind, task_kind};
use pollscope_wire::session::Row;
use pollscope_wire::sys;
use pollscope_wire::table::KeyDef;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
#[cfg(tokio_unstable)]
use tokio::runtime::TaskMeta;
use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime, Runtime, RuntimeFlavor};

type Callback = Arc<dyn Fn() + Send + Sync>;

/// Builds a runtime whose threads are recorded: what [`runtime`] returns.
#[must_use = "a builder does nothing until `build`"]
pub struct RuntimeBuilder<'a> {
    inner: &'a mut Builder,
    name: Option<String>,
    start: Option<Callback>,
    stop: Option<Callback>,
    park: Option<Callback>,
    unpark: Option<Callback>,
    #[cfg(tokio_unstable)]
    tasks: crate::task::hooked::Own,
}

/// Adds pollscope's hooks to a runtime built by hand. tokio keeps one callback of each kind: give the
/// service's own ones here, and both run.
pub fn runtime(builder: &mut Builder) -> RuntimeBuilder<'_> {
    RuntimeBuilder {
        inner: builder,
        name: None,
        start: None,
        stop: None,
        park: None,
        unpark: None,
        #[cfg(tokio_unstable)]
        tasks: Default::default(),
    }
}

impl RuntimeBuilder<'_> {
    /// The name that tells this runtime from others, in the place of [`Builder::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The service's own callback, as [`Builder::on_thread_start`] takes it.
    pub fn on_thread_start(mut self, run: impl Fn() + Send + Sync + 'static) -> Self {
        self.start = Some(Arc::new(run));
        self
    }

    /// The service's own callback, as [`Builder::on_thread_stop`] takes it.
    pub fn on_thread_stop(mut self, run: impl Fn() + Send + Sync + 'static) -> Self {
        self.stop = Some(Arc::new(run));
        self
    }

    /// The service's own callback, as [`Builder::on_thread_park`] takes it.
    pub fn on_thread_park(mut self, run: impl Fn() + Send + Sync + 'static) -> Self {
        self.park = Some(Arc::new(run));
        self
    }

    /// The service's own callback, as [`Builder::on_thread_unpark`] takes it.
    pub fn on_thread_unpark(mut self, run: impl Fn() + Send + Sync + 'static) -> Self {
        self.unpark = Some(Arc::new(run));
        self
    }

    /// The service's own callback, as [`Builder::on_task_spawn`] takes it.
    #[cfg(tokio_unstable)]
    pub fn on_task_spawn(mut self, run: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.tasks.spawned = Some(Box::new(run));
        self
    }

    /// The service's own callback, as [`Builder::on_before_task_poll`] takes it.
    #[cfg(tokio_unstable)]
    pub fn on_before_task_poll(mut self, run: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.tasks.before = Some(Box::new(run));
        self
    }

    /// The service's own callback, as [`Builder::on_after_task_poll`] takes it.
    #[cfg(tokio_unstable)]
    pub fn on_after_task_poll(mut self, run: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.tasks.after = Some(Box::new(run));
        self
    }

    /// The service's own callback, as [`Builder::on_task_terminate`] takes it.
    #[cfg(tokio_unstable)]
    pub fn on_task_terminate(mut self, run: impl Fn(&TaskMeta<'_>) + Send + Sync + 'static) -> Self {
        self.tasks.ended = Some(Box::new(run));
        self
    }

    /// Builds the runtime.
    pub fn build(self) -> io::Result<Runtime> {
        self.build_by(Builder::build, Runtime::handle)
    }

    /// Builds a runtime of this thread alone, as [`Builder::build_local`] does.
    pub fn build_local(self) -> io::Result<LocalRuntime> {
        self.build_by(|builder| builder.build_local(LocalOptions::default()), LocalRuntime::handle)
    }

    fn build_by<R>(
        self,
        build: impl FnOnce(&mut Builder) -> io::Result<R>,
        handle: impl FnOnce(&R) -> &Handle,
    ) -> io::Result<R> {
        #[cfg(tokio_unstable)]
        crate::task::hooked::install(self.inner, self.tasks);
        let RuntimeBuilder { inner, name, start, stop, park, unpark, .. } = self;
        let number = Arc::new(AtomicU32::new(0));
        let [of_threads, of_parks, of_unparks] = [(); 3].map(|()| number.clone());
        inner.on_thread_start(move || {
            let runtime = of_threads.load(Ordering::Relaxed);
            recorder::set_kind(Kind { kind: Kind::BLOCKING, runtime });
            #[cfg(feature = "tracing")]
            crate::scoped::adopt();
            if let Some(start) = &start {
                start();
            }
        });
        inner.on_thread_stop(move || {
            if let Some(stop) = &stop {
                stop();
            }
        });
        let alive = Alive::default();
        inner.on_thread_park(move || {
            parked(&alive, of_parks.load(Ordering::Relaxed));
            if let Some(park) = &park {
                park();
            }
        });
        inner.on_thread_unpark(move || {
            if let Some(unpark) = &unpark {
                unpark();
            }
            unparked(of_unparks.load(Ordering::Relaxed));
        });
        // The number must stand before the threads start: they ask for it at once.
        if let Some(global) = state::recording() {
            number.store(
                global.session.runtime(name.as_deref().unwrap_or_default(), true, 0),
                Ordering::Relaxed,
            );
        }
        let runtime = build(inner)?;
        let number = number.load(Ordering::Relaxed);
        if let Some(global) = state::recording() {
            let handle = handle(&runtime);
            describe(global, number, handle, name.is_some());
            numbers().lock().unwrap_or_else(PoisonError::into_inner).insert(handle.id(), number);
        }
        Ok(runtime)
    }
}

impl std::fmt::Debug for RuntimeBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a runtime says of itself, read at every park: the last one before it falls idle must be right.
#[derive(Default)]
struct Alive {
    last: AtomicU64,
}

/// Time after which an unchanged reading is dated anew.
const READ_EVERY_NS: u64 = 1_000_000_000;

impl Alive {
    fn read(&self, global: &Global, number: u32, now: u64) {
        // No handle is kept: the hook belongs to the runtime, which would keep itself alive by it.
        let Ok(handle) = Handle::try_current() else { return };
        let Some(entry) = global.session.runtime_words(number) else { return };
        let alive = handle.metrics().num_alive_tasks() as u64;
        let last = self.last.load(Ordering::Relaxed);
        // Workers share these words: they are left alone while nothing changes.
        if entry[words::ALIVE].load(Ordering::Relaxed) != alive
            || now.saturating_sub(last) >= global.ticks(READ_EVERY_NS)
        {
            self.last.store(now, Ordering::Relaxed);
            entry[words::ALIVE].store(alive, Ordering::Relaxed);
            entry[words::READ].store(now, Ordering::Relaxed);
        }
    }
}

fn parked(alive: &Alive, runtime: u32) {
    #[cfg(feature = "tracing")]
    crate::scoped::refresh();
    let now = recorder::with(|r| {
        let now = sys::tick();
        r.parked_since = now;
        let (since, by) = std::mem::take(&mut r.unparked_since);
        // A thread may be another runtime's in between.
        if since != 0
            && by == runtime
            && let Some(row) = runtime_row(r, runtime)
        {
            add(&row[row::BUSY], now.saturating_sub(since));
            Recorder::measure(row, row::FIRST_HISTOGRAM, now.saturating_sub(since));
        }
        let since = now.saturating_sub(r.global.session.start_tick());
        r.handle.words[thread_words::PARK].store(since << 8 | 1, Ordering::Relaxed);
        now
    });
    if let (Some(now), Some(global)) = (now, state::recording()) {
        alive.read(global, runtime, now);
    }
}

fn unparked(runtime: u32) {
    // The service may have got a subscriber while this thread was parked.
    #[cfg(feature = "tracing")]
    crate::scoped::refresh();
    recorder::with(|r| {
        let now = sys::tick();
        let since = std::mem::take(&mut r.parked_since);
        r.unparked_since = (now, runtime);
        let word = now.saturating_sub(r.global.session.start_tick()) << 8;
        r.handle.words[thread_words::PARK].store(word, Ordering::Relaxed);
        if since != 0 {
            let parked = now.saturating_sub(since);
            r.handle.poll.write(kind::PARK, 0, now, &[parked]);
            if let Some(row) = runtime_row(r, runtime) {
                add(&row[row::POLLS], 1);
                add(&row[row::IDLE], parked);
                Recorder::measure(row, row::SECOND_HISTOGRAM, parked);
            }
        }
    });
}

/// This thread's row of a runtime.
fn runtime_row(r: &mut Recorder, runtime: u32) -> Option<Row> {
    if runtime == 0 {
        return None;
    }
    let place = KeyPlace { location: 0, future: 0, name: 0, what: u32::MAX - 1, runtime };
    let kind = RowKind::Runtime as u8;
    let def = KeyDef { kind, runtime, callsite: 0, name: 0, future: 0, what: 0 };
    let key = r.key(place, |global| global.session.key(def));
    r.row(key)
}

fn numbers() -> &'static Mutex<HashMap<tokio::runtime::Id, u32>> {
    static NUMBERS: OnceLock<Mutex<HashMap<tokio::runtime::Id, u32>>> = OnceLock::new();
    NUMBERS.get_or_init(Default::default)
}

/// What a runtime says of itself once it is built. Its own name serves where none was given here; one without any is
/// known by when it came.
fn describe(global: &Global, number: u32, handle: &Handle, named: bool) {
    static UNNAMED: AtomicU32 = AtomicU32::new(0);
    if let Some(entry) = global.session.runtime_words(number) {
        if !named {
            let name = match handle.name() {
                Some(name) => global.session.string(name),
                None => match UNNAMED.fetch_add(1, Ordering::Relaxed) {
                    0 => global.session.string("main"),
                    n => global.session.string(&format!("runtime-{}", n + 1)),
                },
            };
            entry[words::NAME].store(name as u64, Ordering::Relaxed);
        }
        let flavour = 1 + (handle.runtime_flavor() != RuntimeFlavor::CurrentThread) as u32;
        let workers = handle.metrics().num_workers() as u32;
        entry[words::FLAVOUR].store(pollscope_wire::layout::pack(flavour, workers), Ordering::Relaxed);
    }
}

/// The number of a runtime, registered now if it was built without us.
pub(crate) fn number(global: &Global, handle: &Handle) -> u32 {
    let mut numbers = numbers().lock().unwrap_or_else(PoisonError::into_inner);
    *numbers.entry(handle.id()).or_insert_with(|| {
        let number = global.session.runtime("", true, 0);
        describe(global, number, handle, false);
        number
    })
}

/// Runs main's future: opens the session, builds the runtime, and closes the session when all is over.
#[track_caller]
pub fn run_main<F: Future>(builder: &mut Builder, service: Option<&str>, future: F) -> F::Output {
    let _guard = open_session(service);
    let runtime = built(runtime(builder).build());
    runtime.block_on(refreshing(of_main(runtime.handle(), future)))
}

/// The same on a runtime of this thread alone, where main may call `spawn_local`.
#[track_caller]
pub fn run_main_local<F: Future>(builder: &mut Builder, service: Option<&str>, future: F) -> F::Output {
    let _guard = open_session(service);
    let runtime = built(runtime(builder).build_local());
    runtime.block_on(refreshing(of_main(runtime.handle(), future)))
}

#[cfg(feature = "tracing")]
use crate::scoped::refreshing;

#[cfg(not(feature = "tracing"))]
fn refreshing<F>(future: F) -> F {
    future
}

fn open_session(service: Option<&str>) -> state::Guard {
    let config = crate::Config::from_env();
    match service {
        Some(name) => config.service(name),
        None => config,
    }
    .init()
}

#[track_caller]
fn built<R>(runtime: io::Result<R>) -> R {
    match runtime {
        Ok(runtime) => runtime,
        Err(error) => panic!("failed building the runtime: {error}"),
    }
}

/// Main's future as a task, on a thread that is known as main's from now on.
#[track_caller]
fn of_main<F: Future>(handle: &Handle, future: F) -> Recorded<F> {
    let number = state::recording()
        .and_then(|_| numbers().lock().unwrap_or_else(PoisonError::into_inner).get(&handle.id()).copied());
    recorder::set_kind(Kind { kind: Kind::MAIN, runtime: number.unwrap_or(0) });
    let birth = Birth {
        kind: task_kind::MAIN,
        name: "main",
        location: Location::caller(),
        within: Within::Child,
        on: None,
    };
    Recorded::new(future, birth)
}
