//! Events of volumes: tickets, who is cut off or let in, and drains.

use super::{About, Events, about_volume, changed};
use crate::decide::facts::Facts;
use crate::names::VolumeName;
use crate::region::Grant;
use crate::wire::{Asker, EventKind};
use std::net::IpAddr;

impl Events {
    pub(super) fn see_grants(&mut self, facts: &Facts) {
        if self.seen.grants == facts.grants {
            return;
        }
        // While they cannot be read nothing is known of them, and nothing has changed.
        let Some(now) = facts.grants.clone() else { return };
        let Some(before) = self.seen.grants.replace(now.clone()) else { return };
        for (volume, grant) in &now {
            let was = before.get(volume).cloned().unwrap_or_default();
            if was != *grant {
                self.see_grant(volume, &was, grant);
            }
        }
    }

    pub(super) fn see_refused(&mut self, facts: &Facts) {
        self.seen.refused.retain(|refused, _| facts.refused.contains_key(refused));
        for (refused, (at, message)) in &facts.refused {
            if self.seen.refused.insert(refused.clone(), *at) == Some(*at) {
                continue;
            }
            let (volume, host) = (&refused.volume, refused.host);
            let mut news = changed(EventKind::TicketRefused, &format!("volume {volume}"), None, Some(host.to_string()));
            (news.0.cause, news.0.code) = (Some(message.clone()), Some(refused.code.clone()));
            self.news.push(about_volume(news, volume, Some(Asker::Host(host))));
        }
    }

    fn see_grant(&mut self, volume: &VolumeName, was: &Grant, now: &Grant) {
        let subject = format!("volume {volume}");
        let host = |grant: &Grant| grant.holder.map(|(host, _)| host);
        let holder = |grant: &Grant| grant.holder.map(|(host, _)| format!("{host}, generation {}", grant.generation));
        let (before, after) = (holder(was), holder(now));
        let granted = now.generation > was.generation || now.holder != was.holder;
        if granted && now.holder.is_some() {
            let taken = was.in_hand().is_some() && host(was) != host(now);
            let kind = if taken { EventKind::Takeover } else { EventKind::TicketGranted };
            let news = changed(kind, &subject, before, after);
            self.news.push(about_volume(news, volume, host(now).map(Asker::Host)));
            return;
        }
        if now.released && !was.released {
            let news = changed(EventKind::TicketReleased, &subject, before, None);
            self.news.push(about_volume(news, volume, host(now).map(Asker::Host)));
        }
        let denied: Vec<IpAddr> = now.denied.difference(&was.denied).copied().collect();
        let allowed: Vec<IpAddr> = was.denied.difference(&now.denied).copied().collect();
        let by =
            if denied.is_empty() && allowed.is_empty() { None } else { self.who_asked(&About::Permit(volume.clone())) };
        let each = |kind: EventKind, hosts: Vec<IpAddr>| {
            let by = by.clone();
            let subject = subject.clone();
            hosts
                .into_iter()
                .map(move |host| changed(kind.clone(), &subject, None, Some(host.to_string())))
                .map(move |news| about_volume(news, volume, by.clone()))
        };
        self.news.extend(each(EventKind::HostDenied, denied).chain(each(EventKind::HostAllowed, allowed)));
    }

    pub(super) fn see_drains(&mut self, facts: &Facts) {
        if self.seen.drains.as_ref() == Some(&facts.drains) {
            return;
        }
        let Some(before) = self.seen.drains.replace(facts.drains.clone()) else { return };
        for (volume, drain) in &facts.drains {
            let was = before.get(volume).filter(|was| was.id == drain.id);
            let subject = format!("volume {volume}");
            match (was, &drain.said) {
                (None, _) => {
                    let mut news = changed(EventKind::Drain, &subject, None, Some("begun".to_owned()));
                    news.0.cause.clone_from(&drain.reason);
                    let by = self.who_asked(&About::Drain(volume.clone()));
                    self.news.push(about_volume(news, volume, by));
                }
                (Some(was), Some(said)) if was.said.as_ref() != Some(said) => {
                    let state = serde_json::to_value(said.state).ok();
                    let state = state.as_ref().and_then(|state| state.as_str()).map(str::to_owned);
                    let mut news = changed(EventKind::Drain, &subject, None, state);
                    news.0.cause.clone_from(&said.message);
                    self.news.push(about_volume(news, volume, Some(Asker::Host(said.host))));
                }
                _ => {}
            }
        }
        for volume in before.keys().filter(|volume| !facts.drains.contains_key(*volume)) {
            let news = changed(EventKind::Drain, &format!("volume {volume}"), None, Some("ended".to_owned()));
            let by = self.who_asked(&About::Drain(volume.clone()));
            self.news.push(about_volume(news, volume, by));
        }
    }
}
