package httpapi

// catalogue is that of the tests.
const catalogue = `[
 {"id":"rumpel-app","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"namespacewrite","detail":"rumpel"},{"role":"namespaceread","detail":"rumpel"}]}},
 {"id":"plug","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"namespacewrite","detail":"rumpel"}]}},
 {"id":"counter-app","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"applicationmanage","detail":"counter"}]}},
 {"id":"pds","info":{"version":"1.0.0"},"permissions":{"rolesGranted":[{"role":"owner"}]}}
]`
