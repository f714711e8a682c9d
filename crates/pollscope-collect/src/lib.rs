//! From shared memory to model events: session discovery, reading rings, clock conversion.
