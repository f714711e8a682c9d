//! What a service links: tasks, wakers, spans and thread workers, recorded into shared memory.
