/// What the store answers.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A constraint of the schema refused it.
    #[error("constraint {0} refused")]
    Constraint(String),
    /// The database cannot be reached, or not now.
    #[error("the database is away: {0}")]
    Away(sqlx::Error),
    /// The database has no room: its disk is full, most often.
    #[error("the database has no room: {0}")]
    Full(sqlx::Error),
    /// Another transaction was in the way; the same request may succeed now.
    #[error("the transaction collided with another: {0}")]
    Collided(sqlx::Error),
    /// A row does not hold what the schema promises.
    #[error("{table} holds {what}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Anything else, which is a defect of this program.
    #[error(transparent)]
    Defect(sqlx::Error),
}

impl StoreError {
    /// The constraint that refused it, if one did.
    pub(crate) fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint(name) => Some(name),
            _ => None,
        }
    }

    /// For a value of a row that no writer of ours puts there.
    pub(crate) fn corrupt(table: &'static str, what: impl std::fmt::Display) -> Self {
        Self::Corrupt { table, what: what.to_string() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Away(error),
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                // https://www.postgresql.org/docs/15/errcodes-appendix.html
                match &*code {
                    "40001" | "40P01" | "55P03" | "57014" => Self::Collided(error),
                    "57P01" | "57P02" | "57P03" | "53300" | "25P03" | "25006" => Self::Away(error),
                    code if code.starts_with("53") || code.starts_with("58") => Self::Full(error),
                    code if code.starts_with("08") => Self::Away(error),
                    _ => match database.constraint() {
                        Some(constraint) => Self::Constraint(constraint.to_owned()),
                        None => Self::Defect(error),
                    },
                }
            }
            _ => Self::Defect(error),
        }
    }
}
