//! People, sessions and tokens: who may come in, and what an admin changes about it. Every change is one transaction with its audit record
//! as the last statement; a sign-in's record is queued in its transaction instead, so that the on-call gets in whatever the chain does.

mod first_run;
mod memory;
mod models;
mod password;
mod second_factor;
mod sessions;
mod sign_in;
mod tokens;
mod users;

pub use first_run::{FirstRunError, LINK_LIVES, LinkStanding, issue_link, look_at_link, use_link};
pub use memory::Memory;
pub use models::{AccountPage, SessionRow, TokenRow, UserRow, UsersPage};
pub use password::{Hasher, PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARS, generate as generate_password};
pub use second_factor::{
    Enrolling, FactorError, FactorPage, Shown, begin_enrolment, finish_enrolment, forget_shown_codes, list_enrolled, load_factor,
    remove_factor, renew_recovery_codes, reset_factor, step_up,
};
pub use sessions::{Known, end_session, find_viewer, list_sessions, sign_out};
pub use sign_in::{Came, Gate, NewSession, SignInError, move_queued_records, sign_in, tell_of_failures};
pub use tokens::{NewToken, TokenError, TokenRequest, check_token, create_token, list_tokens, revoke_token};
pub use users::{
    AccountError, AddedUser, add_user, change_own_password, change_role, disable_user, enable_user, list_users, reset_password,
};

pub use crate::server::store::tokens::{Kind, Token};

use crate::domain::audit::{Actor, Code};
use crate::server::store::audit;
use chrono::TimeDelta;
use sqlx::PgPool;

/// A session ends when nothing came from it for this long,
pub const IDLE: TimeDelta = TimeDelta::minutes(30);
/// and this long after the sign-in in any case.
pub const ABSOLUTE: TimeDelta = TimeDelta::hours(12);
/// While Postgres is away a session verified within this time may still read.
pub const REMEMBERED: TimeDelta = TimeDelta::minutes(5);

/// What this process keeps about people between requests. Never an authority: the tables are.
#[derive(Default)]
pub struct Access {
    pub hasher: Hasher,
    pub gate: Gate,
    pub memory: Memory,
}

/// Records that a signed-in person was refused for their role.
pub async fn record_refusal(pool: &PgPool, actor: &Actor, method: &str, path: &str) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    audit::append(&mut tx, Code::AccessRefused, actor, &serde_json::json!({"method": method, "path": path, "reason": "role"})).await?;
    tx.commit().await
}

/// 32 bytes from the system's generator: a token, a salt or a key.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    use rand::{TryRng, rngs::SysRng};
    let mut bytes = [0; N];
    // Without randomness there is no safe way on; Linux answers always once it has started.
    SysRng.try_fill_bytes(&mut bytes).expect("the system gives random bytes");
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}
