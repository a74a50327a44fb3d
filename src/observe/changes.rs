//! systemd's word that it has changed as a whole: it has read its units again, or executed itself.
//! What was set while a unit ran may be lost with that, and other properties may have come.

use std::num::NonZero;
use zbus::{Connection, MatchRule, Message, MessageStream};

/// The signals that may wait to be read; a full queue would hold up the whole connection.
const QUEUE: NonZero<usize> = NonZero::new(1024).unwrap();

/// systemd tells when it begins to read its units again, and when it has done so; also when it
/// has executed itself.
pub(super) async fn reloads(bus: &Connection) -> zbus::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.systemd1")
        .interface("org.freedesktop.systemd1.Manager")
        .member("Reloading")
        .build()?;
    MessageStream::for_match_rule(rule, bus, Some(QUEUE)).await
}

/// Tell whether a message says that systemd has begun to read its units again.
pub(super) fn began(reloading: &Message) -> zbus::Result<bool> {
    reloading.body().deserialize()
}

/// D-Bus tells when another connection is systemd's: one that executes itself has a new one.
pub(super) async fn owners(bus: &Connection) -> zbus::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, "org.freedesktop.systemd1")
        .build()?;
    MessageStream::for_match_rule(rule, bus, Some(QUEUE)).await
}

/// Tell whether a message says that somebody is systemd now, and not that nobody is.
pub(super) fn is_there(owner: &Message) -> zbus::Result<bool> {
    let (_, _, now): (String, String, String) = owner.body().deserialize()?;
    Ok(!now.is_empty())
}

/// A message, or that none will come any more.
pub(super) fn arrived(message: Option<zbus::Result<Message>>) -> zbus::Result<Message> {
    message.ok_or_else(|| zbus::Error::Failure("the connection was closed".into()))?
}
