// The npm package @auth0/cose as an oracle: one list of JSON tasks on stdin, one list of answers on stdout.
// It knows COSE_Encrypt for direct recipients only. So node's own crypto makes the content key (ECDH, HKDF), and
// @auth0/cose does the rest: the message, Enc_structure with external data, and AES-GCM. Bytes are hexadecimal.
import { createRequire } from 'node:module'
import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync, hkdfSync, webcrypto } from 'node:crypto'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const require = createRequire(process.argv[2] + '/package.json')
const load = async (name) => import(pathToFileURL(require.resolve(name)))
const cose = (await load('@auth0/cose')).default ?? (await load('@auth0/cose'))
const { Encoder } = require('cbor-x')
const { Sign1, Encrypt, Recipient, ProtectedHeaders, UnprotectedHeaders, Headers, COSEKey } = cose
const cbor = new Encoder({ mapsAsObjects: false, useRecords: false, tagUint8Array: false, variableMapSize: true })

const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex'))
const hex = (data) => Buffer.from(data).toString('hex')
const NONE = [null, null, null]
const RECIPIENT = cbor.encode(new Map([[1, -25]]))
const CONTEXT = cbor.encode([3, NONE, NONE, [256, new Uint8Array(RECIPIENT)]])
const isEdwards = (key) => key.asymmetricKeyType === 'ed25519'
const algorithm = (key) => (isEdwards(key) ? -8 : -7)

const contentKey = (secret) =>
  webcrypto.subtle.importKey('raw', hkdfSync('sha256', secret, new Uint8Array(0), new Uint8Array(CONTEXT), 32), 'AES-GCM', false, ['encrypt', 'decrypt'])

function ephemeralIn(map) {
  const b64 = (part) => Buffer.from(part).toString('base64url')
  const jwk = map.get(1) === 2
    ? { kty: 'EC', crv: 'P-256', x: b64(map.get(-2)), y: b64(map.get(-3)) }
    : { kty: 'OKP', crv: 'X25519', x: b64(map.get(-2)) }
  return createPublicKey({ key: jwk, format: 'jwk' })
}

function ephemeralOut(key) {
  const jwk = key.export({ format: 'jwk' })
  const raw = (part) => new Uint8Array(Buffer.from(part, 'base64url'))
  return jwk.kty === 'EC'
    ? new Map([[1, 2], [-1, 1], [-2, raw(jwk.x)], [-3, raw(jwk.y)]])
    : new Map([[1, 1], [-1, 4], [-2, raw(jwk.x)]])
}

const TASKS = {
  async verify({ message, pem, payload }) {
    const signed = Sign1.decode(bytes(message))
    await signed.verify(createPublicKey(pem), payload === undefined ? {} : { detachedPayload: bytes(payload) })
    return { payload: payload ?? hex(signed.payload) }
  },
  async sign({ protected: header, payload, pem }) {
    const key = createPrivateKey(pem)
    const given = cbor.decode(bytes(header))
    const made = await Sign1.sign(new ProtectedHeaders([...given]), new UnprotectedHeaders([]), bytes(payload), key)
    return { message: hex(made.encode()) }
  },
  async decrypt({ message, pem, topic }) {
    const untagged = bytes(message).slice(2) // the tag, 96, would be taken by @auth0/cose's own decoder
    const [head, unprotected, ciphertext, [[, sender]]] = cbor.decode(untagged)
    const secret = diffieHellman({ privateKey: createPrivateKey(pem), publicKey: ephemeralIn(sender.get(-1)) })
    const direct = new Recipient(new Map(), new Map([[1, -6]]), new Uint8Array(0))
    const sealed = new Encrypt(head, unprotected, ciphertext, [direct])
    const key = await contentKey(secret)
    return { plaintext: hex(await sealed.decrypt(key, { externalAAD: Buffer.from(topic) })) }
  },
  async encrypt({ plaintext, pem, kid, topic }) {
    const hub = createPublicKey(pem)
    const pair = hub.asymmetricKeyType === 'x25519' ? generateKeyPairSync('x25519') : generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = await contentKey(diffieHellman({ privateKey: pair.privateKey, publicKey: hub }))
    const direct = Recipient.create([], [[1, -6]])
    const made = await Encrypt.encrypt([[1, 3]], [], bytes(plaintext), key, Buffer.from(topic), [direct])
    const sender = new Map([[4, bytes(kid)], [-1, ephemeralOut(pair.publicKey)]])
    const head = made.encodedProtectedHeaders
    const body = cbor.encode([new Uint8Array(head), made.unprotectedHeaders, new Uint8Array(made.ciphertext), [[new Uint8Array(RECIPIENT), sender, new Uint8Array(0)]]])
    return { message: 'd860' + hex(body) }
  },
  async receipt({ message, body, pem }) {
    const signed = Sign1.decode(bytes(message))
    const [size, place, path] = cbor.decode(signed.unprotectedHeaders.get(396).get(-1)[0])
    const hash = (...parts) => createHash('sha256').update(Buffer.concat(parts.map((p) => Buffer.from(p)))).digest()
    let index = place, last = size - 1, root = hash([0], bytes(body))
    for (const step of path) {
      if (index % 2 || index === last) {
        root = hash([1], step, root)
        while (index && !(index % 2)) { index >>= 1; last >>= 1 }
      } else root = hash([1], root, step)
      index >>= 1; last >>= 1
    }
    await signed.verify(createPublicKey(pem), { detachedPayload: root })
    return { root: hex(root), size }
  },
}

const answers = []
for (const task of JSON.parse(readFileSync(0))) {
  try {
    answers.push(await TASKS[task.do](task))
  } catch (error) {
    answers.push({ refused: `${error.name}: ${error.message}` })
  }
}
process.stdout.write(JSON.stringify(answers))
