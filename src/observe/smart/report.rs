//! Report of smartctl (`--json`), read: what a disk tells of its health. Pure. A report that cannot be read, or is of a
//! command that failed, tells nothing; never that the disk is well.

use crate::clean;
use crate::decide::facts::Smart;
use serde_json::Value;

/// The bits of smartctl's exit status (smartctl(8)). Of the first three nothing is known of the disk.
const NOT_KNOWN: u64 = 0b111;
const FAILING: u64 = 1 << 3;
const PREFAIL: u64 = 1 << 4;
const PREFAIL_ONCE: u64 = 1 << 5;
const ERROR_LOG: u64 = 1 << 6;
const SELF_TEST: u64 = 1 << 7;
/// The words for the bits of an NVMe disk's critical warning (NVM Express, SMART log): the temperature, bit 1, is told
/// apart.
const CRITICAL: [(u64, &str); 4] = [
    (1, "it has hardly any spare blocks left"),
    (1 << 2, "it is not reliable any more"),
    (1 << 3, "it can only be read from"),
    (1 << 4, "the memory that it keeps data in when the power goes has failed"),
];
const CRITICAL_HEAT: u64 = 1 << 1;
/// The attributes of SATA whose value goes down from 100 to 0 as the flash wears.
const WEAR: [u64; 4] = [177, 202, 231, 233];

/// Read a report.
///
/// # Errors
/// Why nothing is known of the disk.
pub(super) fn read(text: &str) -> Result<Smart, String> {
    let report: Value =
        serde_json::from_str(text).map_err(|why| format!("smartctl says what cannot be read: {why}"))?;
    let status = number(&report, "/smartctl/exit_status").ok_or("smartctl does not say how it ended")?;
    if status & NOT_KNOWN != 0 {
        return Err(said(&report).unwrap_or_else(|| format!("smartctl ended with exit status {status}")));
    }
    if report.pointer("/smart_support/available") == Some(&Value::Bool(false)) {
        return Err("it does not tell of its health".into());
    }
    let warning = number(&report, "/nvme_smart_health_information_log/critical_warning").unwrap_or_default();
    let passed = report.pointer("/smart_status/passed").and_then(Value::as_bool);
    if passed.is_none() && number(&report, "/nvme_smart_health_information_log/percentage_used").is_none() {
        return Err("it does not say whether it is well".into());
    }
    Ok(Smart {
        model: text_of(&report, "/model_name"),
        serial: text_of(&report, "/serial_number"),
        firmware: text_of(&report, "/firmware_version"),
        failing: failing(&report, status, warning, passed),
        recorded: recorded(&report, status),
        used_percent: used(&report),
        degrees: signed(&report, "/temperature/current"),
        limit_degrees: signed(&report, "/temperature/op_limit_max").filter(|limit| (30..=130).contains(limit)),
        too_hot: warning & CRITICAL_HEAT != 0,
        hours: number(&report, "/power_on_time/hours"),
    })
}

/// What smartctl says itself of why it failed.
fn said(report: &Value) -> Option<String> {
    let messages = report.pointer("/smartctl/messages")?.as_array()?;
    let words = messages.iter().filter_map(|message| message.get("string")?.as_str());
    let words = words.collect::<Vec<_>>().join("; ");
    (!words.is_empty()).then(|| clean::line(words.trim()).into_owned())
}

fn failing(report: &Value, status: u64, warning: u64, passed: Option<bool>) -> Vec<String> {
    let mut why = Vec::new();
    if status & FAILING != 0 || passed == Some(false) {
        why.push("it says itself that it is failing".to_owned());
    }
    if status & PREFAIL != 0 {
        why.push(format!("an attribute that foretells a failure is at its threshold{}", at_threshold(report)));
    }
    why.extend(CRITICAL.iter().filter(|(bit, _)| warning & bit != 0).map(|(_, words)| (*words).to_owned()));
    why
}

/// The attributes that fail now, as smartctl names them.
fn at_threshold(report: &Value) -> String {
    let now = |row: &&Value| row.get("when_failed").and_then(Value::as_str) == Some("now");
    let names = attributes(report).filter(now).filter_map(|row| row.get("name")?.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    if names.is_empty() { names } else { format!(": {}", clean::line(&names)) }
}

fn recorded(report: &Value, status: u64) -> Vec<String> {
    let mut what = Vec::new();
    if status & PREFAIL_ONCE != 0 {
        what.push("an attribute was at its threshold before".to_owned());
    }
    let errors = number(report, "/ata_smart_error_log/summary/count");
    let media = number(report, "/nvme_smart_health_information_log/media_errors").filter(|count| *count > 0);
    if let Some(count) = media {
        what.push(format!("{count} error(s) of its medium"));
    } else if status & ERROR_LOG != 0 {
        what.push(
            errors.map_or_else(|| "errors in its log".to_owned(), |count| format!("{count} error(s) in its log")),
        );
    }
    if status & SELF_TEST != 0 {
        what.push("a self-test that it failed".to_owned());
    }
    what
}

fn attributes(report: &Value) -> impl Iterator<Item = &Value> {
    report.pointer("/ata_smart_attributes/table").and_then(Value::as_array).into_iter().flatten()
}

/// The percentage of its life that is used.
fn used(report: &Value) -> Option<u16> {
    if let Some(used) = number(report, "/nvme_smart_health_information_log/percentage_used") {
        return used.try_into().ok();
    }
    // What turns has other attributes by these numbers.
    if number(report, "/rotation_rate") != Some(0) {
        return None;
    }
    let left = attributes(report).filter_map(|row| {
        let is_wear = row.get("id").and_then(Value::as_u64).is_some_and(|id| WEAR.contains(&id));
        row.get("value").and_then(Value::as_u64).filter(|left| is_wear && *left <= 100)
    });
    left.min().and_then(|left| u16::try_from(100 - left).ok())
}

fn number(report: &Value, at: &str) -> Option<u64> {
    report.pointer(at)?.as_u64()
}

fn signed(report: &Value, at: &str) -> Option<i64> {
    report.pointer(at)?.as_i64()
}

fn text_of(report: &Value, at: &str) -> Option<String> {
    Some(clean::line(report.pointer(at)?.as_str()?.trim()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn sata(status: u64, more: &Value) -> Result<Smart, String> {
        let mut report = json!({
            "smartctl": {"exit_status": status}, "model_name": "Samsung SSD 870 EVO 1TB", "serial_number": "S6PTNM0T",
            "firmware_version": "SVT02B6Q", "rotation_rate": 0, "smart_support": {"available": true, "enabled": true},
            "smart_status": {"passed": true}, "temperature": {"current": 33}, "power_on_time": {"hours": 4711},
            "ata_smart_attributes": {"table": [
                {"id": 5, "name": "Reallocated_Sector_Ct", "value": 100, "when_failed": ""},
                {"id": 177, "name": "Wear_Leveling_Count", "value": 93, "when_failed": ""}]},
        });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&report.to_string())
    }

    fn nvme(status: u64, log: &Value) -> Result<Smart, String> {
        let mut whole = json!({"critical_warning": 0, "temperature": 44, "available_spare": 100, "percentage_used": 3,
            "media_errors": 0});
        whole.as_object_mut().unwrap().extend(log.as_object().unwrap().clone());
        let report = json!({
            "smartctl": {"exit_status": status}, "model_name": "WD SN570", "smart_status": {"passed": true},
            "nvme_smart_health_information_log": whole, "temperature": {"current": 44, "op_limit_max": 80},
        });
        read(&report.to_string())
    }

    #[test]
    fn a_disk_that_is_well_says_so_and_what_it_is() {
        let seen = sata(0, &json!({})).unwrap();
        assert_eq!((seen.failing.len(), seen.recorded.len(), seen.too_hot), (0, 0, false));
        assert_eq!((seen.used_percent, seen.degrees, seen.hours), (Some(7), Some(33), Some(4711)));
        assert_eq!((seen.serial.as_deref(), seen.limit_degrees), (Some("S6PTNM0T"), None));
        let seen = nvme(0, &json!({})).unwrap();
        assert_eq!((seen.used_percent, seen.degrees, seen.limit_degrees), (Some(3), Some(44), Some(80)));
    }

    #[test]
    fn each_bit_of_the_exit_status_means_what_the_manual_says() {
        for bit in 0..3 {
            assert!(sata(1 << bit, &json!({})).is_err(), "{bit}");
            // Whatever else is said beside it.
            assert!(sata(1 << bit | FAILING, &json!({})).is_err(), "{bit}");
        }
        let why = sata(
            2,
            &json!({"smartctl": {"exit_status": 2,
            "messages": [{"string": "Device is in STANDBY mode, exit(2)", "severity": "information"}]}}),
        );
        assert_eq!(why.unwrap_err(), "Device is in STANDBY mode, exit(2)");
        let words = |status| sata(status, &json!({})).map(|seen| (seen.failing.join("; "), seen.recorded.join("; ")));
        assert_eq!(words(FAILING).unwrap().0, "it says itself that it is failing");
        assert!(words(PREFAIL).unwrap().0.contains("at its threshold"));
        assert!(words(PREFAIL_ONCE).unwrap().1.contains("threshold before"));
        assert_eq!(words(ERROR_LOG).unwrap(), (String::new(), "errors in its log".into()));
        assert!(words(SELF_TEST).unwrap().1.contains("self-test"));
        let table = json!({"ata_smart_attributes": {"table": [
            {"id": 5, "name": "Reallocated_Sector_Ct", "value": 1, "when_failed": "now"}]}});
        assert!(sata(PREFAIL, &table).unwrap().failing[0].ends_with(": Reallocated_Sector_Ct"));
        let log = json!({"ata_smart_error_log": {"summary": {"count": 12}}});
        assert_eq!(sata(ERROR_LOG, &log).unwrap().recorded, ["12 error(s) in its log"]);
    }

    #[test]
    fn nvme_has_its_own_words() {
        let failing = |warning| nvme(0, &json!({"critical_warning": warning})).unwrap();
        assert!(failing(1).failing[0].contains("spare") && failing(4).failing[0].contains("reliable"));
        assert!(failing(8).failing[0].contains("read from") && failing(16).failing.len() == 1);
        assert!(failing(2).failing.is_empty() && failing(2).too_hot);
        assert_eq!(nvme(0, &json!({"media_errors": 3})).unwrap().recorded, ["3 error(s) of its medium"]);
        assert_eq!(nvme(0, &json!({"percentage_used": 104})).unwrap().used_percent, Some(104));
    }

    #[test]
    fn what_tells_nothing_is_not_well() {
        for text in ["", "{}", "[]", "null", "{\"smartctl\":{}}", "{\"smartctl\":{\"exit_status\":0}}"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(sata(0, &json!({"smart_support": {"available": false}})).is_err());
        // A disk that turns has other things by the numbers of wear.
        assert_eq!(sata(0, &json!({"rotation_rate": 7200})).unwrap().used_percent, None);
    }

    proptest! {
        /// Whatever smartctl says, and wherever it is cut off.
        #[test]
        fn nothing_that_is_said_is_more_than_it_says(at in 0usize..600, to in any::<u8>(), status in any::<u8>()) {
            let mut text = json!({
                "smartctl": {"exit_status": status}, "rotation_rate": 0, "smart_status": {"passed": true},
                "ata_smart_attributes": {"table": [{"id": 177, "value": 93}, {"id": 231, "value": -1}]},
                "nvme_smart_health_information_log": {"percentage_used": 1e9, "critical_warning": "x"},
            }).to_string().into_bytes();
            let whole = read(&String::from_utf8_lossy(&text));
            prop_assert_eq!(whole.is_err(), u64::from(status) & NOT_KNOWN != 0);
            let at = at % text.len();
            prop_assert!(read(&String::from_utf8_lossy(&text[..at])).is_err());
            text[at] = to;
            _ = read(&String::from_utf8_lossy(&text));
        }
    }
}
