package audit

const KeyUseSQL = keyUseSQL
