//! The permission to remove. The engine takes a `&Permit`, and the store makes one when, and only when, the start it describes has been
//! committed with its audit row. A test reads the sources and fails when anything else makes one.

/// Proof that a start has been committed: which flush, and under which lease.
#[derive(Debug)]
pub struct Permit {
    flush_id: i64,
    lease_epoch: i32,
}

impl Permit {
    /// For the store alone, after COMMIT has answered (or was read back).
    pub(crate) fn after_commit(flush_id: i64, lease_epoch: i32) -> Self {
        Self { flush_id, lease_epoch }
    }

    pub fn flush_id(&self) -> i64 {
        self.flush_id
    }

    pub fn lease_epoch(&self) -> i32 {
        self.lease_epoch
    }
}
