"""What the functions in Python have in common: two of the three entries, and the shapes of input and output. A package
must be complete in itself, so echo-v2 has a copy of this file; test_projects.py keeps the copies equal."""


def entries(id, reads=("test/in",), version="1.0.0", trigger=None):
    """The configuration and the bundle entry of a function; each endpoint it reads is a property of that name."""
    asked = {"name": id, "bundle": {e: {"endpoints": [{"endpoint": e}]} for e in reads}}

    def configuration(event, context):
        return {
            "id": id,
            "info": {
                "version": version,
                "versionReleaseDate": "2024-01-08T10:00:00.000Z",
                "name": id,
                "headline": "A function for tests",
                "description": {"text": "A function for tests"},
                "termsUrl": "https://example.org/terms",
                "supportContact": "tests@example.org",
                "dataPreview": [],
                "graphics": {"banner": {"normal": ""}, "logo": {"normal": ""}, "screenshots": []},
            },
            "developer": {"id": "tests", "name": "Tests", "url": "https://example.org"},
            "trigger": trigger or {"triggerType": "individual"},
            "dataBundle": asked,
            "status": {"available": True, "enabled": False},
        }

    def bundle(event, context):
        return asked

    return configuration, bundle


def inputs(event):
    """All records of the event, property by property."""
    return [record for records in event["request"]["data"].values() for record in records]


def wish(event, key, default=None):
    """What the newest record with such a key asks the function to do."""
    for record in reversed(inputs(event)):
        if isinstance(record["data"], dict) and key in record["data"]:
            return record["data"][key]
    return default


def response(*data, linked=(), namespace="test", endpoint="out"):
    return {"namespace": namespace, "endpoint": endpoint, "data": list(data), "linkedRecords": list(linked)}
