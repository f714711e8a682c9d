//! The bytes that a service and the agent share: layout, records, ring writer and reader.
