use crate::store::StoreError;

/// Why something was not done. `code` is stable; the text says what to do, and may be shown to anyone who asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{detail}")]
    Invalid {
        /// Stable name of the reason.
        code: &'static str,
        /// Which member of the request, like `who[0].id`.
        field: String,
        /// What to do.
        detail: String,
    },
    /// Nobody is signed in, or the credentials are wrong.
    #[error("{detail}")]
    Unauthenticated {
        /// Stable name of the reason.
        code: &'static str,
        /// What to do.
        detail: &'static str,
    },
    /// The caller is known and may not.
    #[error("{detail}")]
    Forbidden {
        /// Stable name of the reason.
        code: &'static str,
        /// What to do.
        detail: String,
    },
    /// There is no such thing, or the caller may not know that there is.
    #[error("there is no {0} with this id; list them to see which there are")]
    NotFound(&'static str),
    /// The state of things does not allow it.
    #[error("{detail}")]
    Conflict {
        /// Stable name of the reason.
        code: &'static str,
        /// Which member of the request, if one is to blame.
        field: Option<&'static str>,
        /// What to do.
        detail: String,
    },
    /// The same was tried too often.
    #[error("too many tries; try again in {retry_after_seconds} s")]
    TooMany {
        /// When to try again.
        retry_after_seconds: u16,
    },
    /// Too much is asked at once.
    #[error("too many sign-ins are being checked; try again in a second")]
    Busy,
    /// Another change was in the way.
    #[error("another change was in the way; try again")]
    Collided,
    /// The database cannot be reached.
    #[error("the database cannot be reached; try again in a moment")]
    DatabaseAway(String),
    /// The database cannot store anything.
    #[error("the database has no room to store this; try again once its disk has")]
    DatabaseFull(String),
    /// A defect of this program.
    #[error("this is a defect of the server; its log says more")]
    Internal(String),
}

impl Error {
    pub(super) fn invalid(code: &'static str, field: impl Into<String>, detail: impl ToString) -> Self {
        Self::Invalid { code, field: field.into(), detail: detail.to_string() }
    }

    pub(super) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, field: None, detail: detail.into() }
    }

    pub(super) fn conflict_at(code: &'static str, field: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, field: Some(field), detail: detail.into() }
    }

    pub(super) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Forbidden { code, detail: detail.into() }
    }

    pub(super) fn name_taken(field: &'static str) -> Self {
        Self::conflict_at("name_taken", field, "this name is taken; choose another")
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Away(error) => Self::DatabaseAway(error.to_string()),
            StoreError::Full(error) => Self::DatabaseFull(error.to_string()),
            StoreError::Collided(_) => Self::Collided,
            error => Self::Internal(error.to_string()),
        }
    }
}

/// Gives a violated constraint its meaning.
pub(super) trait Meaning<T> {
    /// Turns the violation of `constraint` into `meaning`; leaves all else.
    fn when_violates(self, constraint: &str, meaning: impl FnOnce() -> Error) -> Result<T, Error>;
}

impl<T> Meaning<T> for Result<T, StoreError> {
    fn when_violates(self, constraint: &str, meaning: impl FnOnce() -> Error) -> Result<T, Error> {
        self.map_err(|error| match error {
            StoreError::Constraint(name) if name == constraint => meaning(),
            error => error.into(),
        })
    }
}
