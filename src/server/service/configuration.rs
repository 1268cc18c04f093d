//! Which configuration is in force is part of the record: it says what may be flushed, and by whose approval.

use crate::domain::audit::{Actor, Code};
use crate::server::config::Config;
use crate::server::service::flush;
use crate::server::state::AppState;
use crate::server::store::audit;
use serde_json::{Value, json};
use sqlx::PgPool;

/// Puts a configuration that was read while the server runs in force, everywhere at once. Where it cannot be recorded nothing changes.
pub async fn put_in_force(app: &AppState, actor: &Actor, config: Config) -> Result<(), sqlx::Error> {
    record_loaded(&app.pools.record, actor, &config).await?;
    app.replace_config(config);
    flush::watch_targets(app);
    Ok(())
}

/// Records that this configuration comes into force, unless the last such record names the same file with the same content. Where this fails,
/// the configuration must not come into force.
pub async fn record_loaded(pool: &PgPool, actor: &Actor, config: &Config) -> Result<(), sqlx::Error> {
    if config.file.is_empty() {
        // Without a file nothing is declared.
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    let last = audit::find_last(&mut tx, Code::ConfigLoaded).await?;
    let said = last.and_then(|record| serde_json::from_slice::<Value>(&record.canonical).ok()).unwrap_or_default();
    if said.get("digest").and_then(Value::as_str) == Some(config.digest.as_str()) {
        return Ok(());
    }
    let targets: Vec<Value> = config
        .targets
        .iter()
        .map(|target| {
            let protected: Vec<String> = target.protected.iter().map(|prefix| crate::domain::prefix::escape(prefix)).collect();
            json!({"name": target.name, "protected": protected, "max_keys": target.max_keys})
        })
        .collect();
    let body = json!({
        "file": config.file, "digest": config.digest, "digest_before": said.get("digest"), "targets": targets,
        "prefixes": config.prefixes.len(), "contracts": config.contracts.len(),
    });
    audit::append(&mut tx, Code::ConfigLoaded, actor, &body).await?;
    tx.commit().await
}
