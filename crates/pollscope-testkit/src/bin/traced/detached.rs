//! Tasks that go on after what spawned them, that are many, and that stand apart.

use tracing::{Instrument, info_span};

pub async fn run() {
    // A request that is over long before what it spawned.
    let (over, is_over) = tokio::sync::oneshot::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel::<()>();
    let request = async {
        let task = pollscope::spawn_named("goes on", async {
            info_span!("in time").in_scope(|| ());
            begun.send(()).expect("the request waits");
            is_over.await.expect("main sends");
            info_span!("too late").in_scope(|| ());
            pollscope::spawn_named("late task", async { info_span!("below it").in_scope(|| ()) })
                .await
                .expect("it ends");
        });
        has_begun.await.expect("the task sends");
        (task,)
    };
    let (task,) = request.instrument(info_span!("request")).await;
    over.send(()).expect("the task waits");
    task.await.expect("it ends");

    // More tasks than a trace shows.
    let crowd = async {
        for _ in 0..10 {
            let task = pollscope::spawn_named("one of many", async { info_span!("within").in_scope(|| ()) });
            task.await.expect("it ends");
        }
    };
    crowd.instrument(info_span!("crowd")).await;

    let parent = async {
        let apart = pollscope::task::Builder::new().name("apart").detached();
        apart.spawn(async { info_span!("of the one apart").in_scope(|| ()) }).await.expect("it ends");
    };
    parent.instrument(info_span!("parent")).await;
    // Outside of any trace it is a task like any other.
    let alone = pollscope::task::Builder::new().name("alone").detached();
    alone.spawn(async {}).await.expect("it ends");
}
