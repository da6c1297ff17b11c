"""Names of units of measurement and of currencies, by their symbols. Source: our choice."""

UNITS = {
    "m": "meter", "mm": "millimeter", "cm": "centimeter", "km": "kilometer", "g": "gram", "mg": "milligram",
    "kg": "kilogram", "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "sec": "second",
    "secs": "second", "ms": "millisecond", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour",
    "hrs": "hour", "yr": "year", "yrs": "year", "lb": "pound", "lbs": "pound", "oz": "ounce", "ft": "foot",
    "tbsp": "tablespoon", "tsp": "teaspoon",
    "yd": "yard", "yds": "yard", "mi": "mile", "kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte",
    "GB": "gigabyte", "TB": "terabyte", "W": "watt", "kW": "kilowatt", "MW": "megawatt", "V": "volt",
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "dB": "decibel",
    "kcal": "kilocalorie", "mph": "mile per hour", "kph": "kilometer per hour", "fps": "frame per second",
    "rpm": "revolution per minute", "µm": "micrometer", "μm": "micrometer", "µs": "microsecond",
}  # fmt: skip
# After a slash: "km/h".
DENOMINATORS = {
    "h": "hour", "hr": "hour", "s": "second", "min": "minute", "day": "day", "week": "week", "m": "meter",
    "kg": "kilogram", "l": "liter", "km": "kilometer", "month": "month", "year": "year",
}  # fmt: skip
CURRENCIES = {
    "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "₹": "rupee", "₩": "won", "₽": "ruble", "₺": "lira",
    "₪": "shekel", "₿": "bitcoin", "¢": "cent", "USD": "dollar", "EUR": "euro", "GBP": "pound", "JPY": "yen",
    "CHF": "franc",
}  # fmt: skip
# Hundredths of currencies that are named in prices: "$3.50".
HUNDREDTHS = {"$": "cent", "€": "cent", "£": "penny"}
_IRREGULAR = {"penny": "pence", "foot": "feet", "yen": "yen", "won": "won", "lira": "lira"}


def plural(name: str) -> str:
    """The plural of a name in the tables: "miles per hour"."""
    head, space, rest = name.partition(" ")
    if head.endswith("hertz"):
        return name
    return _IRREGULAR.get(head, f"{head}s") + space + rest


def named(number: str, name: str) -> str:
    """A number in digits and the name in its number: "1 mile", "1.5 miles"."""
    is_one = number.lstrip("+-").replace(",", "") in ("1", "1.0")
    return f"{number} {name if is_one else plural(name)}"
