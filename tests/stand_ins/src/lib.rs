//! Parts that the stand-ins for Oxide's two programs share: how they end, how they are asked and answer, what they
//! read, and what they read it from. Nothing of the product is in it, as nothing of it is in them.

#![forbid(unsafe_code)]

pub mod failure;
pub mod http;
pub mod pem;
pub mod stream;
