/// What can be done without waiting.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready {
    pub(crate) commands: bool,
    pub(crate) socket: bool,
    pub(crate) device: bool,
}

impl Ready {
    pub(crate) const fn any(self) -> bool {
        self.commands || self.socket || self.device
    }
}
