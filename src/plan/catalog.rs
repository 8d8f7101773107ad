//! The shape of every action.

/// An action's shape.
#[derive(Debug)]
pub struct ActionShape {
    /// It has an inverse of its own, from a pre-image.
    pub own_inverse: bool,
    /// It has a probe of its own.
    pub own_probe: bool,
}

/// The shape of the action with this name.
pub fn action(_name: &str) -> Option<&'static ActionShape> {
    None
}
