"""What the description of a sled's API cannot say, told to schemathesis.

OpenAPI describes each parameter by itself. Where one is taken only together with another, or a value is bounded by what
a sled has granted, a request that is well formed may still be refused by 400, as it should be. Such requests are made
ones that are taken; those that are malformed stay as they are.
"""

import schemathesis


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def whole(value):
    """Writes whole numbers without a point. JSON Schema takes 7.0 for an integer, and a sled, as most programs, does not."""
    if isinstance(value, dict):
        return {name: whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [whole(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    query, operation = case.query or {}, case.operation.definition.raw.get("operationId")
    # A revision is waited for, and of no use by itself: BAD_QUERY says so.
    if "revision" in query and "wait" not in query:
        query["wait"] = 0
    # What is held is held for as long as it was asked for; how long that is, is tested elsewhere and only takes time.
    if (number(query.get("wait")) or 0) > 0.1:
        query["wait"] = 0.1
    # A configuration that was in force is shown, and never put in force by its number: BAD_QUERY says so.
    if operation == "Reload" and "kept" in query:
        query["dry_run"] = "true"
    if isinstance(case.body, (dict, list)):
        case.body = whole(case.body)
    # No generation far above the clock is granted, or they would be used up: GENERATION_TOO_HIGH says so.
    if operation == "AttachVolume" and isinstance(case.body, dict) and case.body.get("at_least"):
        case.body["at_least"] %= 1_000_000_000
