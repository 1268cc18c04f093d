//! What is done to a key, and the command that does it.

use crate::domain::flush::Window;
use redis::cmd;

/// Keys of one `UNLINK`: 100 small ones take Redis 80 µs, 100 large hashes well under a millisecond.
const KEYS_PER_UNLINK: usize = 100;

/// What is done to each key. Both answer with the number of keys to which it was done.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// `UNLINK`.
    Remove,
    /// `PEXPIRE … LT`: it expires within the window, and no later than it would have.
    Expire {
        window: Window,
        /// Of the flush: where in the window each key has its place.
        seed: u64,
        /// How many keys earlier runs of the flush have dealt with. They are there still, are met again, and expire sooner anyway.
        before: u64,
    },
}

impl Deed {
    /// Keys of one command; a cluster takes keys of one slot only.
    pub(super) fn keys_per_command(self, cluster: bool) -> usize {
        match self {
            Self::Remove if !cluster => KEYS_PER_UNLINK,
            Self::Remove | Self::Expire { .. } => 1,
        }
    }

    /// Keys already dealt with that a pass is going to meet again, where `this_run` has dealt with so many in its earlier passes.
    pub(super) fn met_before(self, this_run: u64) -> u64 {
        match self {
            // What was removed is met again only where it was written again.
            Self::Remove => 0,
            Self::Expire { before, .. } => before + this_run,
        }
    }

    /// Appends the command for these keys, as many as one takes.
    pub(super) fn pack(self, packed: &mut Vec<u8>, keys: &[Vec<u8>]) {
        match self {
            Self::Remove => cmd("UNLINK").arg(keys).write_packed_command(packed),
            Self::Expire { window, seed, .. } => {
                for key in keys {
                    cmd("PEXPIRE").arg(key).arg(window.expiry_ms(seed, key)).arg("LT").write_packed_command(packed);
                }
            }
        }
    }
}
