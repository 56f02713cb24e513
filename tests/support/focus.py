"""What the FOCUS specification 1.0 asks of a row: its columns, their types, and which may be empty."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation

DECIMALS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
DECIMALS_OR_NULL = ("ConsumedQuantity", "ContractedUnitPrice", "ListUnitPrice", "PricingQuantity")
TIMES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
NAMES = (
    "BillingAccountId",
    "InvoiceIssuerName",
    "ProviderName",
    "PublisherName",
    "ServiceName",
)
NAMES_OR_NULL = (
    *("AvailabilityZone", "BillingAccountName", "ChargeDescription", "ConsumedUnit", "PricingUnit"),
    *("CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountType", "RegionId", "RegionName"),
    *("ResourceId", "ResourceName", "ResourceType", "SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags"),
)
# Of these words one each; an empty one stands for null.
WORDS = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"", "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "CommitmentDiscountCategory": {"", "Spend", "Usage"},
    "CommitmentDiscountStatus": {"", "Used", "Unused"},
    "PricingCategory": {"", "Standard", "Dynamic", "Committed", "Other"},
    "ServiceCategory": {"AI and Machine Learning"},
}
COLUMNS = {"BillingCurrency", *DECIMALS, *DECIMALS_OR_NULL, *TIMES, *NAMES, *NAMES_OR_NULL, *WORDS}


def check_focus(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """Return everything in which rows are not as the specification says."""
    return [fault for row in rows for fault in _faults(row)]


def _faults(row: Mapping[str, str]) -> Iterator[str]:
    if set(row) != COLUMNS:
        yield f"columns: {sorted(set(row) ^ COLUMNS)}"
        return
    yield from (f"{name} is no decimal" for name in DECIMALS if not _is_decimal(row[name]))
    yield from (f"{name} is no decimal" for name in DECIMALS_OR_NULL if row[name] and not _is_decimal(row[name]))
    yield from (f"{name} is no time" for name in TIMES if not re.fullmatch(r"[-0-9]{10}T[:0-9]{8}Z", row[name]))
    yield from (f"{name} is empty" for name in NAMES if not row[name])
    yield from (f"{name} is {row[name]!r}" for name, words in WORDS.items() if row[name] not in words)
    if not re.fullmatch("[A-Z]{3}", row["BillingCurrency"]):
        yield "BillingCurrency is no code"
    start, end, first, last = (datetime.fromisoformat(row[name]) for name in TIMES)
    if not start <= first < last <= end:
        yield "the charge period is not within the billing period"
    if bool(row["ConsumedQuantity"]) != bool(row["ConsumedUnit"]):
        yield "ConsumedQuantity without ConsumedUnit"
    if bool(row["PricingQuantity"]) != bool(row["PricingUnit"]):
        yield "PricingQuantity without PricingUnit"


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite() and "e" not in text.lower()
    except InvalidOperation:
        return False
