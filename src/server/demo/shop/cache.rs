//! The shop's cache: a small client over one connection to Redis, with a time-out, that connects anew after a failure.
//!
//! A cached value is `VERSION|FRESH_UNTIL_MS|padding`: enough to compare it with the source, and as heavy as a real one.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, Pipeline, RedisError, ServerErrorKind};
use std::time::Duration;
use tokio::sync::Mutex;

/// Stores a value unless a newer version is there: what every fill of a cart ought to do.
const SET_IF_NEWER: &str = r"local now = redis.call('GET', KEYS[1])
if now and tonumber(string.match(now, '^%d+')) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub version: u64,
    /// For what is served stale while it is refreshed: fresh until then (Unix ms). 0 elsewhere.
    pub fresh_until_ms: i64,
}

impl Value {
    fn to_text(self, bytes: usize) -> String {
        let mut text = format!("{}|{}|", self.version, self.fresh_until_ms);
        while text.len() < bytes {
            text.push_str("lorem ipsum dolor sit amet ");
        }
        text.truncate(bytes.max(24));
        text
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.splitn(3, '|');
        Some(Self { version: parts.next()?.parse().ok()?, fresh_until_ms: parts.next()?.parse().ok()? })
    }
}

/// One client of Redis.
pub struct Cache {
    client: Client,
    timeout: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Cache {
    pub fn new(info: ConnectionInfo, timeout: Duration) -> Result<Self, RedisError> {
        Ok(Self { client: Client::open(info)?, timeout, connection: Mutex::new(None) })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref() {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout.max(Duration::from_millis(250))))
            .set_response_timeout(Some(self.timeout));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// After a failure nothing is known of the connection: the next command begins with another.
    async fn drop_connection_after<T>(&self, result: Result<T, RedisError>) -> Result<T, RedisError> {
        if result.as_ref().is_err_and(|error| error.is_io_error() || error.is_timeout()) {
            *self.connection.lock().await = None;
        }
        result
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.drop_connection_after(result).await
    }

    pub async fn get(&self, key: &str) -> Result<Option<Value>, RedisError> {
        let bytes: Option<Vec<u8>> = self.run(redis::cmd("GET").arg(key)).await?;
        Ok(bytes.and_then(|bytes| Value::parse(&bytes)))
    }

    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Value>>, RedisError> {
        let found: Vec<Option<Vec<u8>>> = self.run(redis::cmd("MGET").arg(keys)).await?;
        Ok(found.into_iter().map(|bytes| bytes.and_then(|bytes| Value::parse(&bytes))).collect())
    }

    pub async fn set(&self, key: &str, value: Value, bytes: usize, ttl: Duration) -> Result<(), RedisError> {
        self.run(redis::cmd("SET").arg(key).arg(value.to_text(bytes)).arg("PX").arg(millis(ttl))).await
    }

    /// `false` if what is there is as new or newer.
    pub async fn set_if_newer(&self, key: &str, value: Value, bytes: usize, ttl: Duration) -> Result<bool, RedisError> {
        let mut command = redis::cmd("EVAL");
        command.arg(SET_IF_NEWER).arg(1).arg(key).arg(value.version).arg(value.to_text(bytes)).arg(millis(ttl));
        self.run(&command).await
    }

    /// Removes a key; how many there were (0 or 1).
    pub async fn evict(&self, key: &str) -> Result<u64, RedisError> {
        self.run(redis::cmd("DEL").arg(key)).await
    }

    /// Lets a key live no longer than `ttl`; how many there were (0 or 1).
    pub async fn expire(&self, key: &str, ttl: Duration) -> Result<u64, RedisError> {
        self.run(redis::cmd("PEXPIRE").arg(key).arg(millis(ttl)).arg("LT")).await
    }

    /// Stores many values, 500 a pipeline: the state in which the shop's day begins.
    pub async fn fill(&self, entries: &[(String, Value, usize, Duration)]) -> Result<(), RedisError> {
        for part in entries.chunks(500) {
            let mut pipeline = Pipeline::with_capacity(part.len());
            for (key, value, bytes, ttl) in part {
                pipeline.cmd("SET").arg(key).arg(value.to_text(*bytes)).arg("PX").arg(millis(*ttl)).ignore();
            }
            let mut connection = self.connection().await?;
            let result: Result<(), RedisError> = pipeline.query_async(&mut connection).await;
            self.drop_connection_after(result).await?;
        }
        Ok(())
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The error class of the product's vocabulary.
pub fn error_class(error: &RedisError) -> &'static str {
    if error.is_timeout() {
        return "timeout";
    }
    match error.kind() {
        redis::ErrorKind::AuthenticationFailed => "auth",
        redis::ErrorKind::Io => "connection",
        redis::ErrorKind::Server(ServerErrorKind::ReadOnly) => "readonly",
        redis::ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => "moved",
        _ if error.code() == Some("OOM") => "oom",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back_whatever_its_weight() {
        for bytes in [0, 24, 600] {
            let value = Value { version: 71, fresh_until_ms: 1_700_000_000_000 };
            assert_eq!(Value::parse(value.to_text(bytes).as_bytes()), Some(value));
        }
    }
}
