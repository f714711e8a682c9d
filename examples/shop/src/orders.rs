//! Orders: a database behind the blocking pool, and a pool of threads that render receipts.

use crate::faults::Fault;
use crate::net::{self, Answer, Asked};
use anyhow::{Context, Result};
use hyper::Method;
use qrcode::QrCode;
use qrcode::render::svg;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What orders works with.
#[derive(Clone)]
struct Orders {
    database: Arc<Mutex<Connection>>,
    receipts: mpsc::Sender<Receipt>,
}

/// A receipt to be rendered, for which span, and who waits for it.
struct Receipt {
    order: u64,
    asked_in: pollscope::Current,
    done: oneshot::Sender<usize>,
}

pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    // Without a name it is a file of its own, which is gone when it is closed.
    let database = Connection::open("").context("cannot open the database")?;
    database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL)", [])?;
    let orders = Orders { database: Arc::new(Mutex::new(database)), receipts: printers(2)? };
    net::serve(listener, move |asked| {
        let orders = orders.clone();
        async move { orders.handle(asked).await }
    })
    .await
}

impl Orders {
    async fn handle(&self, asked: Asked) -> Answer {
        let order = asked.path.trim_start_matches("/orders/").parse().context("no such order")?;
        match asked.method {
            Method::POST => self.keep(order).await,
            _ => self.load(order).await,
        }
    }

    #[pollscope::instrument(skip(self), err)]
    async fn keep(&self, order: u64) -> Answer {
        let bytes = self.render(order).await?;
        self.with_database("insert order", move |database| {
            database.execute(
                "INSERT OR REPLACE INTO orders (id, bytes) VALUES (?1, ?2)",
                params![order as i64, bytes as i64],
            )
        })
        .await?;
        Ok(json!({"order": order, "receipt_bytes": bytes}))
    }

    #[pollscope::instrument(skip(self), err)]
    async fn load(&self, order: u64) -> Answer {
        let found = self
            .with_database("select order", move |database| {
                let query = "SELECT bytes FROM orders WHERE id = ?1";
                database.query_row(query, params![order as i64], |row| row.get::<_, i64>(0)).optional()
            })
            .await?;
        Ok(json!({"order": order, "receipt_bytes": found}))
    }

    /// Asks the database on the blocking pool: SQLite blocks.
    async fn with_database<R, F>(&self, what: &str, ask: F) -> Result<R>
    where
        R: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<R> + Send + 'static,
    {
        let database = self.database.clone();
        let job = pollscope::task::Builder::new().name(what).spawn_blocking(move || {
            let database = database.lock().unwrap_or_else(PoisonError::into_inner);
            if Fault::SlowDisk.is_on() {
                std::thread::sleep(Duration::from_millis(30));
            }
            ask(&database)
        });
        Ok(job.await??)
    }

    #[pollscope::instrument(skip(self))]
    async fn render(&self, order: u64) -> Result<usize> {
        let (done, rendered) = oneshot::channel();
        self.receipts
            .send(Receipt { order, asked_in: pollscope::current(), done })
            .ok()
            .context("the printers are gone")?;
        rendered.await.context("the printer gave up")
    }
}

/// Starts the threads that render.
fn printers(count: usize) -> Result<mpsc::Sender<Receipt>> {
    let (sender, receiver) = mpsc::channel::<Receipt>();
    let receiver = Arc::new(Mutex::new(receiver));
    for n in 0..count {
        let receiver = receiver.clone();
        pollscope::thread::Builder::new().name(format!("printer-{n}")).spawn(move || {
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(Receipt { order, asked_in, done }) = next else { return };
                let bytes = asked_in.in_scope(|| pollscope::job("render receipt", || receipt(order)));
                let _ = done.send(bytes);
            }
        })?;
    }
    Ok(sender)
}

/// A receipt as a picture; gives its size.
fn receipt(order: u64) -> usize {
    let text = format!("order {order}: thank you for shopping with us, see you again soon");
    let Ok(code) = QrCode::new(text.as_bytes()) else { return 0 };
    code.render::<svg::Color<'_>>().min_dimensions(200, 200).build().len()
}
