exports.handler = async () => []
