//! Who may do what: the five roles and the permissions they carry.

use super::audit::Actor;
use super::second_factor::Factor;
use serde::{Deserialize, Serialize};

/// A signed-in person's role. Roles do not form a line: an admin is not an approver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Operator,
    Approver,
    Auditor,
    Admin,
}

/// One thing that a role may or may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read every page; key names masked for those without [`Permission::SeeKeys`].
    Read,
    /// See key names unmasked.
    SeeKeys,
    /// Plan, confirm, start and cancel flushes.
    Flush,
    /// Approve or reject a wide flush.
    Approve,
    /// Go on without a second person, where the configuration lets.
    BreakGlass,
    /// Run `audit verify` and export the audit.
    Audit,
    /// Add and close review actions.
    Review,
    /// Users, tokens, settings and the demo's switches.
    Administer,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Viewer, Role::Operator, Role::Approver, Role::Auditor, Role::Admin];

    /// The role's name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
        }
    }

    /// The role of that name, if there is one.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether this role carries `permission`.
    pub fn may(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::SeeKeys => self != Role::Viewer,
            Permission::Flush => matches!(self, Role::Operator | Role::Admin),
            Permission::Approve => self == Role::Approver,
            Permission::Audit => matches!(self, Role::Auditor | Role::Admin),
            Permission::Review => self != Role::Viewer,
            Permission::Administer | Permission::BreakGlass => self == Role::Admin,
        }
    }
}

/// A signed-in person, as every page and form gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub user_id: i64,
    pub email: String,
    pub name: String,
    pub role: Role,
    /// The session they came with, for the list on `/account`.
    pub session_id: i64,
    pub factor: Factor,
    /// Their session was verified within the last minutes, but Postgres is away now: they may read what is left to read and change nothing.
    pub read_only: bool,
}

impl Viewer {
    /// Whether this person may do that now.
    pub fn may(&self, permission: Permission) -> bool {
        let reads = matches!(permission, Permission::Read | Permission::SeeKeys);
        self.role.may(permission) && (reads || !self.read_only)
    }

    /// This person as the audit names them.
    pub fn actor(&self) -> Actor {
        Actor::User { id: self.user_id, email: self.email.clone(), role: self.role }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_is_not_an_approver() {
        assert!(!Role::Admin.may(Permission::Approve));
    }

    #[test]
    fn only_operators_and_admins_flush() {
        let who: Vec<_> = Role::ALL.into_iter().filter(|role| role.may(Permission::Flush)).collect();
        assert_eq!(who, [Role::Operator, Role::Admin]);
    }

    #[test]
    fn without_postgres_an_admin_only_reads() {
        let viewer = |read_only| Viewer {
            user_id: 1,
            email: "ada@example.com".into(),
            name: "Ada".into(),
            role: Role::Admin,
            session_id: 1,
            factor: Factor::default(),
            read_only,
        };
        assert!(viewer(false).may(Permission::Flush));
        assert!(!viewer(true).may(Permission::Flush));
        assert!(viewer(true).may(Permission::Read));
    }

    #[test]
    fn names_round_trip() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
    }
}
