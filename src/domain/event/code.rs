//! The closed lists of words in events, each with its name on the wire and its number in the store. Numbers never change their meaning.

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $code:literal $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$note])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word as it is written in events and answers.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            pub fn parse(word: &str) -> Option<Self> {
                match word { $($text => Some($name::$variant),)+ _ => None }
            }

            /// The number in the store.
            pub fn code(self) -> i16 {
                match self { $($name::$variant => $code,)+ }
            }

            pub fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some($name::$variant),)+ _ => None }
            }

            /// All words, for sentences that say what is allowed.
            pub fn listed() -> String {
                Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", ")
            }
        }
    };
}

words!(
    /// The type of an event.
    Kind {
        Access = 1 "access",
        Rebuild = 2 "rebuild",
        Invalidation = 3 "invalidation",
        Mutation = 4 "mutation",
        StaleRead = 5 "stale_read",
        Annotation = 6 "annotation",
    }
);
words!(
    /// Who measured. Never added together; the first with data is shown.
    Origin {
        App = 1 "app",
        Stream = 2 "stream",
        Otlp = 3 "otlp",
        Probe = 4 "probe",
        Keyspace = 5 "keyspace",
    }
);
words!(
    /// How a rebuild ended.
    Outcome {
        Ok = 1 "ok",
        Error = 2 "error",
        Timeout = 3 "timeout",
    }
);
words!(
    /// What made a rebuild start.
    Cause {
        Miss = 1 "miss",
        Refresh = 2 "refresh",
        Write = 3 "write",
    }
);
words!(
    /// How a cached value is made to go.
    Method {
        Evict = 1 "evict",
        Expire = 2 "expire",
        Update = 3 "update",
        Version = 4 "version",
    }
);
words!(
    /// Why an invalidation failed.
    ErrorClass {
        Timeout = 1 "timeout",
        Connection = 2 "connection",
        Auth = 3 "auth",
        Readonly = 4 "readonly",
        Moved = 5 "moved",
        Oom = 6 "oom",
        Script = 7 "script",
        Serialization = 8 "serialization",
        Other = 9 "other",
    }
);
words!(
    /// What a mark on the charts stands for.
    NoteKind {
        Deploy = 1 "deploy",
        Incident = 2 "incident",
        Config = 3 "config",
        Note = 4 "note",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_round_trip() {
        for &class in ErrorClass::ALL {
            assert_eq!(ErrorClass::parse(class.as_str()), Some(class));
            assert_eq!(ErrorClass::from_code(class.code()), Some(class));
        }
        assert_eq!(Origin::parse("pigeon"), None);
        assert_eq!(Kind::from_code(0), None);
    }
}
