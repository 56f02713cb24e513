"""`focus.csv`: what Lago bills, or should, in the FinOps Open Cost and Usage Specification (FOCUS), version 1.0.

Every column of that version is there by its published name, in alphabetical order; what nothing here can tell is empty,
where the specification allows that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.core.money.amounts import main_unit
from jobs.core.telling.reports import Columns

FOCUS_COLUMNS = Columns(
    names=tuple(
        """
        AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd
        BillingPeriodStart ChargeCategory ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd
        ChargePeriodStart CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName
        CommitmentDiscountStatus CommitmentDiscountType ConsumedQuantity ConsumedUnit ContractedCost
        ContractedUnitPrice EffectiveCost InvoiceIssuerName ListCost ListUnitPrice PricingCategory PricingQuantity
        PricingUnit ProviderName PublisherName RegionId RegionName ResourceId ResourceName ResourceType
        ServiceCategory ServiceName SkuId SkuPriceId SubAccountId SubAccountName Tags
        """.split()
    ),
    texts=frozenset(
        """
        BillingAccountId ChargeDescription ConsumedUnit InvoiceIssuerName PricingUnit ProviderName PublisherName
        ResourceId ResourceName SkuId SubAccountId
        """.split()
    ),
)
"""The columns of FOCUS 1.0 in order."""

SERVICE = "LLM gateway"
"""What is sold, as `ServiceName` says."""
_CALLS = "Requests"


@dataclass(frozen=True, slots=True)
class FocusCharge:
    """What one subscription is billed for one model under one metric, in a part of a billing period."""

    subscription: str
    """Its external id."""
    customer: str
    """The external id of the customer who gets the invoice."""
    seller: str
    """Who bills: the organization's name."""
    code: str
    """The billable metric."""
    unit: str | None
    """The property that the metric adds up; None where it counts events."""
    model: str
    """What was called."""
    currency: str
    """ISO 4217."""
    amount: int
    """In the currency's smallest unit."""
    quantity: str
    """What is billed, in digits."""
    billing_start: datetime
    """Start of the billing period, UTC."""
    billing_end: datetime
    """Its end, excluded."""
    charge_start: datetime
    """Start of the time that this was used in, UTC."""
    charge_end: datetime
    """Its end, excluded."""
    is_correction: bool = False
    """Whether its billing period was invoiced without it."""
    note: str = ""
    """What else there is to say of it."""

    def row(self) -> Mapping[str, str]:
        """Return it by the names of FOCUS. Discounts and taxes are not told, so that all four costs are the same."""
        cost, unit = main_unit(self.amount, self.currency), _CALLS if self.unit is None else self.unit
        told = {
            **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
            **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), self.quantity),
            **dict.fromkeys(("ConsumedUnit", "PricingUnit"), unit),
            **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), self.seller),
            **dict.fromkeys(("ResourceId", "ResourceName"), self.model),
            "BillingAccountId": self.customer,
            "BillingCurrency": self.currency,
            "BillingPeriodStart": _instant(self.billing_start),
            "BillingPeriodEnd": _instant(self.billing_end),
            "ChargeCategory": "Usage",
            "ChargeDescription": ", ".join(text for text in (self.model, self.code, self.note) if text),
            "ChargeClass": "Correction" if self.is_correction else "",
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodStart": _instant(self.charge_start),
            "ChargePeriodEnd": _instant(self.charge_end),
            "PricingCategory": "Standard",
            "ResourceType": "Model",
            "ServiceCategory": "AI and Machine Learning",
            "ServiceName": SERVICE,
            "SkuId": self.code,
            "SubAccountId": self.subscription,
        }
        return {name: told.get(name, "") for name in FOCUS_COLUMNS.names}


def _instant(time: datetime) -> str:
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
