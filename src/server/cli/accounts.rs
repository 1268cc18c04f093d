//! `stalewatch user` and `stalewatch token`. A secret is shown once.

use std::io::{BufRead as _, IsTerminal as _};

use chrono::TimeDelta;
use clap::{Args, Subcommand};
use serde_json::json;

use super::database::{Database, explain};
use super::{Failure, Settings, print_json};
use crate::domain::audit::Actor;
use crate::domain::operator::Role;
use crate::server::clock::Clock;
use crate::server::service::accounts::{self, Access, AccountError, TokenError, TokenRequest};
use crate::server::store::tokens::Kind;

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add an account; the password is read from standard input
    #[command(after_help = "Example:\n  stalewatch user add --email mara@example.com --role operator --generate")]
    Add(AddUser),
    /// List all accounts
    #[command(after_help = "Example:\n  stalewatch user list")]
    List(AsJson),
    /// Disable an account and end its sessions
    #[command(after_help = "Example:\n  stalewatch user disable --email mara@example.com")]
    Disable {
        #[arg(long)]
        email: String,
    },
    /// Set a new password, read from standard input, or take a lost second factor away; ends the account's sessions
    #[command(
        after_help = "Example:\n  stalewatch user reset --email mara@example.com --generate\n  stalewatch user reset --email mara@example.com --second-factor"
    )]
    Reset(ResetUser),
}

#[derive(Debug, Args)]
pub(super) struct AddUser {
    #[arg(long)]
    email: String,
    /// viewer, operator, approver, auditor or admin
    #[arg(long, value_parser = role)]
    role: Role,
    /// The name shown to others; left out, it is read from the address
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    secret: Secret,
}

#[derive(Debug, Args)]
pub(super) struct ResetUser {
    #[arg(long)]
    email: String,
    /// Take the second factor away and leave the password as it is
    #[arg(long, conflicts_with = "generate")]
    second_factor: bool,
    #[command(flatten)]
    secret: Secret,
}

#[derive(Debug, Args)]
struct Secret {
    /// Generate the password and print it
    #[arg(long)]
    generate: bool,
    #[command(flatten)]
    output: AsJson,
}

#[derive(Debug, Args)]
pub(super) struct AsJson {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Create a token for a program that sends events, or with --read for one that reads figures
    #[command(after_help = "Example:\n  stalewatch token create --source accounts-api --target main")]
    Create(CreateToken),
    /// List all tokens, without their secrets
    #[command(after_help = "Example:\n  stalewatch token list")]
    List(AsJson),
    /// Revoke a token for good
    #[command(after_help = "Example:\n  stalewatch token revoke 3f9a1c27d0b4")]
    Revoke {
        /// As `token list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateToken {
    /// Whose token it is: the name under which its events are stored
    #[arg(long)]
    source: String,
    /// The only target it may send events of
    #[arg(long)]
    target: Option<String>,
    /// Reads figures instead of sending events
    #[arg(long)]
    read: bool,
    /// Days until it expires
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..))]
    expires: Option<u16>,
    #[command(flatten)]
    output: AsJson,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("there is no such role; it is one of {}", Role::ALL.map(Role::as_str).join(", ")))
}

impl User {
    pub async fn run(self, settings: &Settings) -> Result<(), Failure> {
        // What is typed is read before a server is started for it.
        let secret = match &self {
            Self::Add(AddUser { secret, .. }) | Self::Reset(ResetUser { secret, second_factor: false, .. }) => Some(secret.obtain()?),
            Self::List(_) | Self::Disable { .. } | Self::Reset(_) => None,
        };
        let database = Database::open(settings).await?;
        let done = self.act(&database, &secret.unwrap_or_default()).await;
        database.close().await;
        done.map_err(|error| match error {
            AccountError::Store(error) => explain(&error).into(),
            other => other.to_string().into(),
        })
    }

    async fn act(self, database: &Database, password: &str) -> Result<(), AccountError> {
        let (access, pool, now, actor) = (Access::default(), &database.pools.control, Clock::system().now(), actor());
        match self {
            Self::Add(AddUser { email, role, name, secret }) => {
                let added = accounts::add_user(&access, pool, now, &actor, &email, name.as_deref(), role, password).await?;
                secret.show(&added.email, added.role, password, "added");
            }
            Self::Reset(ResetUser { email, second_factor: true, .. }) => {
                let done = accounts::reset_factor(&access, pool, &actor, &email).await?;
                let what = if done { "has no second factor any more; all its sessions have ended" } else { "has no second factor" };
                eprintln!("{email} {what}.");
            }
            Self::Reset(ResetUser { email, secret, .. }) => {
                let user = accounts::reset_password(&access, pool, now, &actor, &email, password).await?;
                secret.show(&user.email, user.role, password, "has a new password; all its sessions have ended");
            }
            Self::Disable { email } => {
                accounts::disable_user(&access, pool, now, &actor, &email).await?;
                eprintln!("{email} is disabled and signed out everywhere.");
            }
            Self::List(AsJson { json }) => {
                let users = accounts::list_users(pool).await?;
                if json {
                    let rows = users
                        .iter()
                        .map(|user| json!({"email": user.email, "role": user.role.as_str(), "disabled": user.disabled_at.is_some()}));
                    print_json(&json!({ "users": rows.collect::<Vec<_>>() }));
                } else if users.is_empty() {
                    eprintln!(
                        "Nobody has an account yet. Make the first: stalewatch user add --email you@example.com --role admin --generate"
                    );
                }
                for user in users.iter().filter(|_| !json) {
                    println!("{:<32} {:<10}{}", user.email, user.role.as_str(), if user.disabled_at.is_some() { " disabled" } else { "" });
                }
            }
        }
        Ok(())
    }
}

impl Secret {
    /// A generated password, or the first line of standard input.
    fn obtain(&self) -> Result<String, Failure> {
        if self.generate {
            return Ok(accounts::generate_password());
        }
        let mut line = String::new();
        let input = std::io::stdin();
        let hidden = input.is_terminal().then(|| {
            eprint!("Password: ");
            Hidden::begin()
        });
        input.lock().read_line(&mut line)?;
        if hidden.is_some() {
            eprintln!();
        }
        Ok(line.trim_end_matches(['\n', '\r']).to_owned())
    }

    fn show(&self, email: &str, role: Role, password: &str, what: &str) {
        if self.output.json {
            let mut shown = json!({"email": email, "role": role.as_str()});
            if self.generate {
                shown["password"] = password.into();
            }
            print_json(&shown);
        } else {
            eprintln!("{email} ({}) {what}.", role.as_str());
            if self.generate {
                println!("{password}");
            }
        }
    }
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(Option<rustix::termios::Termios>);

impl Hidden {
    fn begin() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut hidden) = before.clone() {
            hidden.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &hidden);
        }
        Self(before)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}

impl Token {
    pub async fn run(self, settings: &Settings) -> Result<(), Failure> {
        let database = Database::open(settings).await?;
        let done = self.act(&database).await;
        database.close().await;
        done.map_err(|error| match error {
            TokenError::Store(error) => explain(&error).into(),
            other => other.to_string().into(),
        })
    }

    async fn act(self, database: &Database) -> Result<(), TokenError> {
        let (pool, now, actor) = (&database.pools.control, Clock::system().now(), actor());
        match self {
            Self::Create(CreateToken { source, target, read, expires, output }) => {
                let kind = if read { Kind::Read } else { Kind::Ingest };
                let expires_at = expires.map(|days| now + TimeDelta::days(days.into()));
                let request = TokenRequest { kind, source: &source, target: target.as_deref(), expires_at };
                let token = accounts::create_token(pool, now, &actor, &request).await?;
                if output.json {
                    print_json(&json!({"id": token.id, "token": token.text}));
                } else {
                    println!("{}", token.text);
                    eprintln!("Token {} of {source}. Its secret is shown only this once.", token.id);
                }
            }
            Self::Revoke { id } => {
                accounts::revoke_token(pool, now, &actor, &id).await?;
                eprintln!("Token {id} is revoked.");
            }
            Self::List(AsJson { json }) => {
                let tokens = accounts::list_tokens(pool).await?;
                if json {
                    let rows = tokens.iter().map(|token| {
                        json!({
                            "id": token.id, "kind": token.kind.as_str(), "source": token.source, "target": token.target,
                            "created_at": token.created_at, "expires_at": token.expires_at, "last_used_at": token.last_used_at,
                            "revoked_at": token.revoked_at,
                        })
                    });
                    print_json(&json!({ "tokens": rows.collect::<Vec<_>>() }));
                } else if tokens.is_empty() {
                    eprintln!("There are no tokens yet. Make one: stalewatch token create --source NAME");
                }
                for token in tokens.iter().filter(|_| !json) {
                    let state = match (token.revoked_at, token.expires_at) {
                        (Some(_), _) => "revoked",
                        (None, Some(end)) if end <= now => "expired",
                        _ => "valid",
                    };
                    let used = token
                        .last_used_at
                        .map_or_else(|| "never used".to_owned(), |at| format!("used {}", at.format("%Y-%m-%d %H:%M UTC")));
                    println!(
                        "{:<14} {:<7} {:<8} {:<24} {:<12} {used}",
                        token.id,
                        token.kind.as_str(),
                        state,
                        token.source,
                        token.target.as_deref().unwrap_or("any target")
                    );
                }
            }
        }
        Ok(())
    }
}

fn actor() -> Actor {
    Actor::CommandLine { uid: rustix::process::getuid().as_raw() }
}
