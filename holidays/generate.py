"""Writes holidays.txt: the public holidays of countries, as the Python package `holidays` knows them.

    python3 -m venv venv && venv/bin/pip install holidays==0.108 && venv/bin/python generate.py > holidays.txt

Prophet takes its country holidays from this package, with their names in English (`language="en_US"`) and one name a line where
a day has several. A line of the file is a country (`= code|name|...`) or a holiday of the country above it: its name, a tab, and
its days as `MMDD:` with the years, ranges of years and lists of them joined by `,`, days apart by a space.
"""

import collections

import holidays

FIRST, LAST = 1995, 2044

COUNTRIES = {
    "AR": "Argentina", "AT": "Austria", "AU": "Australia", "BE": "Belgium", "BG": "Bulgaria", "BR": "Brazil", "CA": "Canada",
    "CH": "Switzerland", "CL": "Chile", "CN": "China", "CO": "Colombia", "CZ": "Czechia", "DE": "Germany", "DK": "Denmark",
    "EE": "Estonia", "EG": "Egypt", "ES": "Spain", "FI": "Finland", "FR": "France", "GB": "UnitedKingdom", "GR": "Greece",
    "HK": "HongKong", "HR": "Croatia", "HU": "Hungary", "ID": "Indonesia", "IE": "Ireland", "IL": "Israel", "IN": "India",
    "IS": "Iceland", "IT": "Italy", "JP": "Japan", "KE": "Kenya", "KR": "SouthKorea", "LT": "Lithuania", "LU": "Luxembourg",
    "LV": "Latvia", "MA": "Morocco", "MX": "Mexico", "MY": "Malaysia", "NG": "Nigeria", "NL": "Netherlands", "NO": "Norway",
    "NZ": "NewZealand", "PE": "Peru", "PH": "Philippines", "PK": "Pakistan", "PL": "Poland", "PT": "Portugal",
    "RO": "Romania", "RS": "Serbia", "RU": "Russia", "SA": "SaudiArabia", "SE": "Sweden", "SG": "Singapore",
    "SI": "Slovenia", "SK": "Slovakia", "TH": "Thailand", "TR": "Turkey", "TW": "Taiwan", "UA": "Ukraine",
    "AE": "UnitedArabEmirates", "US": "UnitedStates", "VN": "Vietnam", "ZA": "SouthAfrica",
}


def ranges(years):
    """`1995-2001,2003` for ascending years."""
    runs = []
    for year in years:
        if runs and runs[-1][1] == year - 1:
            runs[-1][1] = year
        else:
            runs.append([year, year])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def main():
    print(f"# Written by generate.py from the Python package holidays {holidays.__version__}, {FIRST} to {LAST}.")
    for code, name in sorted(COUNTRIES.items()):
        cls = getattr(holidays, code)
        aliases = [code, name] + ["USA", "UnitedStatesOfAmerica"] * (code == "US") + ["UK", "GreatBritain"] * (code == "GB")
        print("= " + "|".join(aliases))
        calendar = cls(language="en_US", years=range(FIRST, LAST + 1), expand=False)
        days = collections.defaultdict(lambda: collections.defaultdict(set))
        for date in calendar:
            if FIRST <= date.year <= LAST:
                for holiday in calendar.get_list(date):
                    days[holiday][f"{date:%m%d}"].add(date.year)
        for holiday, by_day in sorted(days.items()):
            assert "\t" not in holiday
            print(holiday + "\t" + " ".join(f"{day}:{ranges(sorted(years))}" for day, years in sorted(by_day.items())))


main()
