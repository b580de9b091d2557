"""A made landscape with seasons and weather: what the `synthetic` provider looks at."""
